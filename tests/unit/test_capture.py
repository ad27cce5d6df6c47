"""Capture against the library's own hidden states; padding and batching change nothing."""

import pytest
import torch
from tests.captured import captured_under, on_edge

from pidflow.models.capture import BLOCKS, capture
from pidflow.models.inputs import Example, encode


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


def test_states_are_the_means_of_the_librarys_hidden_states(loaded, asked):
    examples, pictures, _ = asked(5)
    batch = encode(loaded, examples, pictures)
    found = capture(loaded, batch)
    with torch.inference_mode():
        expected = loaded.model(**batch.inputs, output_hidden_states=True, use_cache=False)
    # The library hands out the last layer after the norm, so the comparison stops one short and norms the last itself.
    for layer, hidden in enumerate(expected.hidden_states[:-1]):
        for index, span in enumerate(BLOCKS.values()):
            for row in range(5):
                mean = hidden[row, batch.spans[span][row]].mean(0)
                torch.testing.assert_close(found.states[layer, index, row], mean, atol=1e-6, rtol=1e-5)
    assert found.states.shape == (loaded.depth + 1, 4, 5, loaded.width)
    with torch.inference_mode():
        normed = loaded.final_norm(found.last[-1])
        torch.testing.assert_close(normed, expected.hidden_states[-1][:, -1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.final, expected.hidden_states[-1][:, -1], atol=0, rtol=0)
        torch.testing.assert_close(found.logits, expected.logits[:, -1], atol=1e-6, rtol=1e-6)


def test_a_lone_prompt_is_fed_as_the_library_would_feed_it(loaded, asked):
    examples, pictures, _ = asked(1)
    text = loaded.prompt.replace("{question}", examples[0].question)
    fed = loaded.processor(images=pictures, text=[text], return_tensors="pt")
    with torch.inference_mode():
        expected = loaded.model(**fed).logits[:, -1]
    found = capture(loaded, encode(loaded, examples, pictures)).logits
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("plan", [[], [on_edge("image", "question", (0, 1))]], ids=["intact", "cut"])
def test_left_padding_changes_nothing(loaded, asked, plan):
    examples, pictures, _ = asked(6)
    longest = Example(" ".join(["what do the ring and the cross share , color or size ?"] * 3))
    together = captured_under(plan, loaded, encode(loaded, [*examples, longest], [*pictures, pictures[0]]))
    for row in range(6):
        alone = captured_under(plan, loaded, encode(loaded, [examples[row]], [pictures[row]]))
        torch.testing.assert_close(together.states[:, :, row], alone.states[:, :, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-5, rtol=1e-5)


def test_tiled_pictures_of_different_shapes_share_a_batch(tiny_llava_next, asked):
    examples, pictures, _ = asked(3)
    shaped = [pictures[0].resize(size) for size in ((48, 48), (100, 24), (24, 60))]
    batch = encode(tiny_llava_next, examples, shaped)
    assert len(set(batch.spans["image"].sum(1).tolist())) == 3
    together = capture(tiny_llava_next, batch)
    for row in range(3):
        alone = capture(tiny_llava_next, encode(tiny_llava_next, [examples[row]], [shaped[row]]))
        torch.testing.assert_close(together.states[:, :, row], alone.states[:, :, 0], atol=1e-5, rtol=1e-5)


def test_half_precision_states_are_pooled_in_float32(tiny_llava, asked):
    from pidflow.models import loading
    from pidflow.models.standin import architecture

    half = loading.wrap(
        "llava",
        architecture.build_model(seed=0, width=32, depth=3).bfloat16(),
        tiny_llava.processor,
        prompt=tiny_llava.prompt,
    )
    examples, pictures, _ = asked(3)
    batch = encode(tiny_llava, examples, pictures)
    found = capture(half, batch.to(half))
    assert found.states.dtype == torch.float32
    torch.testing.assert_close(found.states, capture(tiny_llava, batch).states, atol=0.05, rtol=0.05)
    assert not torch.equal(found.states[:, 0], found.states[:, 0].bfloat16().float())  # means keep their extra digits
    assert torch.equal(found.last, found.last.bfloat16().float())  # a single state is stored as it was


def test_no_hook_stays_behind(tiny_llava, asked):
    examples, pictures, _ = asked(1)
    batch = encode(tiny_llava, examples, pictures)
    watched = [*tiny_llava.layers, tiny_llava.final_norm]

    def hooks():  # the library keeps some of its own
        return [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in watched]

    before = hooks()
    capture(tiny_llava, batch)
    broken = batch.take(slice(0, 1))
    del broken.inputs["pixel_values"]
    broken.inputs["input_ids"] = broken.inputs["input_ids"][:, :3]
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        capture(tiny_llava, broken)
    assert hooks() == before

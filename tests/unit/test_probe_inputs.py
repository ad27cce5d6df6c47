"""Masked passes: nothing replaced is the joint pass, what is replaced tells nothing, the rest stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pidflow.errors import NumericsError
from pidflow.models import probe_inputs
from pidflow.models.inputs import Example, encode
from pidflow.models.probe_inputs import (
    check_entry,
    enter,
    joint_pass,
    masked_pass,
    places_of,
    prompt_without_image,
    without_image,
)


def red():
    return Image.new("RGB", (48, 48), (200, 30, 30))


def blue():
    return Image.new("RGB", (48, 48), (30, 30, 200))


def logits_with(loaded, batch, new):
    return masked_pass(loaded, batch, enter(loaded, batch).replaced(new)).captured.logits


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


def test_a_pass_that_replaces_nothing_is_the_joint_one(loaded, asked):
    examples, pictures, _ = asked(4)
    batch = encode(loaded, examples, pictures)
    assert check_entry(loaded, batch) < 1e-5
    joint, fed = joint_pass(loaded, batch)
    own = {name: part.values for name, part in fed.parts().items()}
    again = masked_pass(loaded, batch, fed.replaced(own)).captured
    torch.testing.assert_close(again.logits, joint.captured.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.states, joint.captured.states, atol=1e-5, rtol=1e-5)


def test_a_family_whose_forward_does_more_is_refused(tiny_llava, asked, monkeypatch):
    examples, pictures, _ = asked(2)
    monkeypatch.setattr(type(tiny_llava), "logits_of", lambda self, normed: 1.01 * self.parts.unembedding(normed))
    with pytest.raises(NumericsError, match="a pass that replaces nothing differs from the joint one"):
        check_entry(tiny_llava, encode(tiny_llava, examples, pictures))


def test_without_its_tokens_the_picture_says_nothing(loaded):
    question = Example("is the ring solid or striped ?", ("solid", "striped"))
    batches = [encode(loaded, [question], [picture]) for picture in (red(), blue())]
    mean = [torch.zeros_like(enter(loaded, batch).parts()["image"].values) for batch in batches]
    one, two = (logits_with(loaded, batch, {"image": each}) for batch, each in zip(batches, mean, strict=True))
    torch.testing.assert_close(one, two)
    joint = [joint_pass(loaded, batch)[0].captured.logits for batch in batches]
    assert (joint[0] - joint[1]).abs().max() > 1e-4


def test_without_its_tokens_the_question_says_nothing(loaded):
    texts = "is the ring solid or striped ?", "is the disc solid or dotted ?"  # as many tokens
    batches = [encode(loaded, [Example(text)], [red()]) for text in texts]
    blank = [torch.zeros_like(enter(loaded, batch).parts()["language"].values) for batch in batches]
    one, two = (logits_with(loaded, batch, {"language": each}) for batch, each in zip(batches, blank, strict=True))
    torch.testing.assert_close(one, two)


def test_options_stay_where_the_question_is_masked(tiny_llava):
    example = Example("is the ring solid or striped ?", ("solid", "striped"))
    batch = encode(tiny_llava, [example], [red()])
    places = places_of(batch.spans)
    ids = batch.inputs["input_ids"]
    words = tiny_llava.tokenizer.convert_ids_to_tokens(ids[places["question"]])
    assert words == ["is", "the", "ring", "or", "?"]
    assert not (places["question"] & batch.spans["options"]).any()
    assert (places["language"] >= places["question"]).all()
    assert not (places["language"] & places["image"]).any()


def test_the_letters_of_options_are_part_of_them(tiny_llava):
    example = Example("is the ring ?\nA. solid\nB. striped", ("A", "B"), offered=("solid", "striped"))
    batch = encode(tiny_llava, [example], [red()])
    masked = places_of(batch.spans)["question"][0]
    assert int(masked.sum()) == 4  # is the ring ?
    assert int((batch.spans["question"][0] & ~masked).sum()) == 6  # two of each: letter, full stop, word


def test_positions_and_masks_are_those_of_the_joint_pass(loaded, asked):
    examples, pictures, _ = asked(3)
    fed = enter(loaded, encode(loaded, examples, pictures))
    new = {"image": torch.zeros_like(fed.parts()["image"].values)}
    arguments = fed.replaced(new)
    for name, value in fed.arguments.items():
        if name != "inputs_embeds":
            assert arguments[name] is value
    changed = (arguments["inputs_embeds"] != fed.embeddings).any(2)
    assert (changed <= fed.places["image"]).all()
    assert changed.any()
    assert fed.embeddings is fed.arguments["inputs_embeds"]  # the original is left as it was


def test_entering_does_not_run_the_language_model(tiny_llava, asked, monkeypatch):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava, examples, pictures)
    expected = joint_pass(tiny_llava, batch)[1]
    monkeypatch.setattr(tiny_llava.layers[0], "forward", None)
    fed = enter(tiny_llava, batch)
    torch.testing.assert_close(fed.embeddings, expected.embeddings)
    assert not tiny_llava.text_model._forward_pre_hooks


def test_sources_are_means_of_what_enters(loaded, asked):
    examples, pictures, _ = asked(3)
    batch = encode(loaded, examples, pictures)
    fed = enter(loaded, batch)
    for name, span in (("vision", "image"), ("language", "question")):  # the prompt has no instruction
        for row in range(3):
            expected = fed.embeddings[row, batch.spans[span][row]].mean(0)
            torch.testing.assert_close(fed.sources()[name][row], expected)


@pytest.mark.parametrize(
    ("template", "words", "expected"),
    [
        ("USER: <image>\n{question} ASSISTANT:", (), "USER: {question} ASSISTANT:"),
        ("<image>\n{question}\nAnswer:", (), "{question}\nAnswer:"),
        ("[INST] <image>\n{question} [/INST]", (), "[INST] {question} [/INST]"),
        (
            "<|im_start|>user\n<|vision_start|><image><|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n",
            ("<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|image_pad|>"),
            "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_the_prompt_without_a_picture_has_none_of_its_marks(tiny_llava, template, words, expected):
    class Tokenizer:
        def get_added_vocab(self):
            return dict.fromkeys(words, 1)

    class Processor:
        tokenizer = Tokenizer()

    prompting = replace(tiny_llava.prompting, template=template)
    assert prompt_without_image(replace(tiny_llava, prompting=prompting, processor=Processor())) == expected


def test_a_question_without_a_picture_does_not_depend_on_its_batch(loaded):
    texts = ["is the ring solid or striped ?", "what ?"]
    both = without_image(loaded, texts)
    assert loaded.image_token_id not in both.inputs["input_ids"]
    together = probe_inputs.plain_pass(loaded, both).captured.logits
    for row, text in enumerate(texts):
        alone = probe_inputs.plain_pass(loaded, without_image(loaded, [text])).captured.logits
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)

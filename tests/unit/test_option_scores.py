"""Probabilities of options against passes over prompt and option written out."""

import numpy as np
import pytest
import torch

from pidflow.errors import DataError
from pidflow.models.inputs import encode
from pidflow.models.option_scores import (
    OptionReader,
    check_letters,
    first_token_scores,
    left_over,
    lens_scores,
    score_options,
)
from pidflow.models.own_answers import own_answers
from pidflow.models.probe_inputs import joint_pass
from pidflow.models.speech import end_tokens

OPTIONS = (
    ("red", "blue"),
    ("left", "left of", "red circle"),  # the second goes on where the first ends
    ("red circle", "red square", "blue square"),  # told by the second token
    ("red circle", "red circle left", "red"),
)


def written_out(loaded, example, picture, tokens):
    """Log-likelihood of some tokens after a prompt, from one pass over all of them."""
    batch = encode(loaded, [example], [picture])
    ids = torch.cat([batch.inputs["input_ids"], torch.tensor([tokens])], 1)
    length = batch.inputs["input_ids"].shape[1]
    with torch.inference_mode():
        logits = loaded.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=torch.arange(ids.shape[1])[None],
            pixel_values=batch.inputs["pixel_values"],
        ).logits.log_softmax(-1)
    return sum(float(logits[0, length - 1 + place, index]) for place, index in enumerate(tokens))


@pytest.fixture
def passed(tiny_llava, asked):
    """Questions of different length in one batch, each with options of another kind, after a joint pass."""
    examples, pictures, _ = asked(len(OPTIONS))
    batch = encode(tiny_llava, examples, pictures)
    reader = OptionReader(tiny_llava)
    return examples, pictures, batch, joint_pass(tiny_llava, batch)[0], [reader(each, where="x") for each in OPTIONS]


def test_scores_are_those_of_passes_written_out(tiny_llava, passed):
    examples, pictures, batch, joint, options = passed
    found = score_options(tiny_llava, batch, joint.captured.logits, joint.cache, options, width=3)
    vocabulary, (end,) = tiny_llava.tokenizer.get_vocab(), end_tokens(tiny_llava)
    for row, texts in enumerate(OPTIONS):
        others = {text: [o.split() for o in texts if o != text] for text in texts}
        for place, text in enumerate(texts):
            words = text.split()
            whole = written_out(tiny_llava, examples[row], pictures[row], [vocabulary[w] for w in words])
            assert float(found.sequence[row, place]) == pytest.approx(whole, abs=1e-4)
            told = next(
                (n for n in range(1, len(words) + 1) if not any(o[:n] == words[:n] for o in others[text])), None
            )
            event = [vocabulary[w] for w in words[:told]] + ([end] if told is None else [])
            expected = written_out(tiny_llava, examples[row], pictures[row], event)
            assert float(found.begins[row, place]) == pytest.approx(expected, abs=1e-4), (texts, text)
        assert torch.isnan(found.begins[row, len(texts) :]).all()
        assert float(found.begins[row, : len(texts)].exp().sum()) <= 1


def test_the_lens_at_the_last_layer_is_the_output(tiny_llava, passed):
    _, _, _, joint, options = passed
    found = lens_scores(tiny_llava, joint.captured.last, options, width=3, variant="norm")
    expected = first_token_scores(joint.captured.logits.log_softmax(-1), options, width=3)
    assert found.shape == (tiny_llava.depth + 1, len(OPTIONS), 3)
    torch.testing.assert_close(found[-1], expected, equal_nan=True)
    assert torch.isnan(expected[2, :2]).all()  # told by their second tokens
    plain = lens_scores(tiny_llava, joint.captured.last, options, width=3, variant="no-norm")
    assert (plain[-1] - found[-1]).nan_to_num().abs().max() > 1e-3


def test_what_belongs_to_no_option_is_left_over(tiny_llava, passed):
    _, _, batch, joint, options = passed
    rest = left_over(joint.captured.logits, options)
    found = score_options(tiny_llava, batch, joint.captured.logits, joint.cache, options, width=3)
    assert float(rest[0].sum()) == pytest.approx(1 - float(found.begins[0, :2].exp().sum()), abs=1e-5)
    vocabulary = tiny_llava.tokenizer.get_vocab()
    assert rest[0, vocabulary["red"]] == 0
    assert rest[2, vocabulary["red"]] > 0


def test_a_prompt_that_ends_in_white_space_is_followed_by_no_blank():
    from tests.tokenizers import llama_2

    tokenizer = llama_2()

    class Loaded:
        prompt = ""
        placeholder = "<image>"

        class model:
            generation_config = None

    Loaded.tokenizer = tokenizer
    after_colon = OptionReader(Loaded, "ASSISTANT:")(("A", "B"), where="x")
    assert tokenizer.convert_ids_to_tokens([ids[0] for ids in after_colon.written]) == ["▁A", "▁B"]
    after_line = OptionReader(Loaded, "Answer\n")(("A", "B"), where="x")
    assert tokenizer.convert_ids_to_tokens([ids[0] for ids in after_line.written]) == ["A", "B"]
    # All spellings count, those with and without a blank.
    assert {ids for events in after_colon.events for ids in events} > {ids for ids in after_colon.written}


@pytest.mark.parametrize("letters", [("A", "B"), ("left", "left of")])
def test_letters_that_a_first_token_does_not_tell_are_refused(tiny_llava, letters):
    with pytest.raises(DataError, match="are not one known token each"):
        check_letters(OptionReader(tiny_llava), letters)


@pytest.mark.parametrize("options", [("red",), ("red", "red"), ("red", " "), ()])
def test_what_is_no_choice_is_refused(tiny_llava, options):
    with pytest.raises(DataError, match="item q7: expected at least two different options"):
        OptionReader(tiny_llava)(options, where="item q7")


def test_options_that_the_tokenizer_does_not_tell_apart_have_no_event(tiny_llava):
    found = OptionReader(tiny_llava)(("zyx", "wvu", "red"), where="x")  # the first two are unknown words
    assert [len(each) > 0 for each in found.events] == [False, False, True]


def test_own_answers_are_greedy_from_the_likeliest_first_tokens(tiny_llava, asked):
    examples, pictures, _ = asked(3)
    batch = encode(tiny_llava, examples, pictures)
    joint = joint_pass(tiny_llava, batch)[0]
    found = own_answers(tiny_llava, batch, joint.captured.logits, joint.cache, count=3, at_most=3)
    vocabulary = tiny_llava.tokenizer.get_vocab()
    ends = end_tokens(tiny_llava)
    for row, of_row in enumerate(found):
        scores = joint.captured.logits[row].clone()
        scores[tiny_llava.tokenizer.all_special_ids] = -np.inf
        best = scores.topk(3).indices.tolist()
        assert [vocabulary[text.split()[0]] for text in of_row] == best
        for text in of_row:  # each further token is the likeliest after those before it
            said = [vocabulary[word] for word in text.split()]
            for count in range(1, len(said)):
                chosen = written_out(tiny_llava, examples[row], pictures[row], said[: count + 1])
                for other in (vocabulary["red"], vocabulary["left"], *ends):
                    rival = written_out(tiny_llava, examples[row], pictures[row], [*said[:count], other])
                    assert chosen >= rival - 1e-5

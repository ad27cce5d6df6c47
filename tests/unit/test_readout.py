"""What counts as the right answer, and the logit lens."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from pidflow.errors import ConfigError, DataError
from pidflow.models import loading
from pidflow.models.capture import Captured, capture
from pidflow.models.inputs import encode
from pidflow.models.readout import AnswerTokens, answer_tokens, read_out, target
from pidflow.models.standin import architecture


@pytest.fixture(scope="module")
def pieces():
    """A LLaVA whose tokenizer cuts words like Llama's: "▁Yes", "▁te"+"al", and a lone "▁" before digits."""
    words = ["▁Yes", "▁yes", "▁no", "▁te", "▁T", "al", "▁ring", "▁Ring", "ring", "▁left", "▁", "3", "e", "te", "T"]
    tokens = ["<pad>", "<unk>", "<s>", "</s>", "<image>", "<0x0A>", ":", "USER", *words]
    merges = []
    vocabulary = {token: index for index, token in enumerate(tokens)}
    for word in [*words, "USER"]:  # build each word from its letters, left to right
        for index in range(1, len(word)):
            merges.append((word[:index], word[index]))
            for part in (word[:index], word[index], word[: index + 1]):
                vocabulary.setdefault(part, len(vocabulary))
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=list(dict.fromkeys(merges)), unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    shipped = architecture.build_processor()
    processor = LlavaProcessor(
        image_processor=shipped.image_processor,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return loading.wrap(
        "llava", architecture.build_model(seed=0, width=32, depth=3), processor, prompt=architecture.PROMPT
    )


def spelled(loaded, answer):
    found = answer_tokens(loaded, [answer])[answer]
    return {loaded.tokenizer.convert_ids_to_tokens(index) for index in found.ids}, found.piece


@pytest.mark.parametrize(
    ("answer", "tokens", "piece"),
    [
        ("yes", {"▁yes", "▁Yes"}, "yes"),
        ("Yes", {"▁yes", "▁Yes"}, "yes"),
        ("ring", {"▁ring", "▁Ring", "ring"}, "ring"),
        ("teal", {"▁te", "te"}, "te"),  # not "▁T", which begins other words too
        ("Teal", {"▁te", "te"}, "te"),
        ("left", {"▁left"}, "left"),
        ("3", {"▁"}, ""),  # a space on its own says nothing about the number
        (" left ", {"▁left"}, "left"),
    ],
)
def test_an_answer_begins_with_the_pieces_that_spell_the_most_of_it(pieces, answer, tokens, piece):
    assert spelled(pieces, answer) == (tokens, piece)


def test_answers_the_tokenizer_does_not_know_have_no_token(tiny_llava):
    assert answer_tokens(tiny_llava, ["zebra"])["zebra"] == AnswerTokens(ids=(), piece="")


def test_an_empty_answer_is_refused(tiny_llava):
    with pytest.raises(DataError, match="empty answer"):
        answer_tokens(tiny_llava, ["yes", " "])


def captured_saying(loaded, words):
    """States of no meaning and logits that favour one word per row by 3 over the others."""
    rows = len(words)
    logits = torch.zeros(rows, len(loaded.tokenizer))
    for row, word in enumerate(words):
        logits[row, loaded.tokenizer.convert_tokens_to_ids(word)] = 3.0
    states = torch.randn(loaded.depth + 1, 4, rows, loaded.width, generator=torch.Generator().manual_seed(0))
    return Captured(states=states, final=states[-1, 3], logits=logits)


def test_correct_means_the_first_token_begins_the_gold_answer(tiny_llava):
    captured = captured_saying(tiny_llava, ["yes", "red", "ring", "red"])
    answers = ["Yes", "blue", "ring", "zebra"]
    found = read_out(tiny_llava, captured, answers=answers, tokens=answer_tokens(tiny_llava, answers))
    assert found.correct.tolist() == [True, False, True, False]
    assert found.predicted == ["yes", "red", "ring", "red"]
    share = captured.logits[0].softmax(0).max()
    other = captured.logits[0].softmax(0).min()
    torch.testing.assert_close(found.probability, share.repeat(4))
    torch.testing.assert_close(found.answer_probability, torch.stack([share, other, share, torch.tensor(0.0)]))


def test_the_lens_ends_at_the_models_own_probability(tiny_llava, asked):
    examples, pictures, questions = asked(5)
    captured = capture(tiny_llava, encode(tiny_llava, examples, pictures))
    answers = [question.answer for question in questions]
    found = read_out(tiny_llava, captured, answers=answers, tokens=answer_tokens(tiny_llava, answers))
    torch.testing.assert_close(found.lens[:, -1], found.probability, atol=1e-6, rtol=1e-5)
    assert found.lens.shape == (5, tiny_llava.depth + 1)
    with torch.inference_mode():
        logits = tiny_llava.model.lm_head(tiny_llava.text_model.norm(captured.last[1]))
    by_hand = logits.softmax(-1)[torch.arange(5), found.predicted_id]
    torch.testing.assert_close(found.lens[:, 1], by_hand, atol=1e-6, rtol=1e-5)


def test_targets(tiny_llava, asked):
    examples, pictures, _ = asked(4)
    captured = capture(tiny_llava, encode(tiny_llava, examples, pictures))
    assert torch.equal(target(tiny_llava, captured, kind="state"), captured.final)
    candidates = [AnswerTokens((7,), "a"), AnswerTokens((8, 9), "b")]
    logits = target(tiny_llava, captured, kind="logits", candidates=candidates)
    torch.testing.assert_close(logits[:, 0], captured.logits[:, 7])
    torch.testing.assert_close(logits[:, 1].exp(), captured.logits[:, 8].exp() + captured.logits[:, 9].exp())
    embedding = target(tiny_llava, captured, kind="answer-embedding")
    predicted = captured.logits.argmax(-1)
    assert torch.equal(embedding, tiny_llava.model.get_input_embeddings().weight[predicted])
    with pytest.raises(ConfigError, match="unknown target 'answer', expected one of: state, logits, answer-embedding"):
        target(tiny_llava, captured, kind="answer")

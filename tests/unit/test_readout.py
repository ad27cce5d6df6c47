"""What a model says, how likely it says the right answer, and the logit lens, in Llama 2's tokens."""

import pytest
import torch
from tests.captured import on_edge
from tests.tokenizers import llama_2, tiny_llava_over
from transformers import DynamicCache

from pidflow.errors import ConfigError, DataError
from pidflow.interventions.answer import answer
from pidflow.interventions.intervention import entered
from pidflow.models import loading
from pidflow.models.capture import capture
from pidflow.models.first_tokens import (
    AnswerStarts,
    Candidate,
    answer_starts,
    candidates,
    token_spellings,
    tokens_needed,
)
from pidflow.models.inputs import encode
from pidflow.models.readout import target
from pidflow.models.speech import end_tokens, grown, is_blank, leading_blanks

PROMPT = "USER: <image>\n{question} ASSISTANT:"


@pytest.fixture(scope="module")
def pieces():
    """A LLaVA that speaks in Llama 2's tokens: "▁so" + "fa", and a lone "▁" before digits."""
    return tiny_llava_over(llama_2(), prompt=PROMPT)


def prompted(loaded, prompt):
    return loading.wrap("llava", loaded.model, loaded.processor, prompt=prompt)


def starts_of(loaded, answer, others):
    found = answer_starts(loaded, answer, others, token_spellings(loaded, [answer, *others]))
    read = loaded.tokenizer.convert_ids_to_tokens
    return {tuple(read(list(start.shared))): set(read(list(start.ids))) for start in found.starts}


@pytest.mark.parametrize(
    ("answer", "others", "starts"),
    [
        ("yes", ["no"], {(): {"▁yes", "▁Yes", "yes", "Yes"}}),
        ("Yes", ["no"], {(): {"▁yes", "▁Yes", "yes", "Yes"}}),
        ("sofa", ["couch"], {(): {"▁so", "▁Sof", "so", "S"}}),
        ("sofa", ["solid"], {(): {"▁so", "▁Sof"}}),
        ("Yellow", ["yes"], {(): {"▁yellow", "▁Y"}}),
        ("teal", ["no"], {(): {"▁te", "▁Te", "te", "Te"}}),
        ("3", ["2"], {(): {"3"}}),  # after the blank that both begin with
        ("two", ["three"], {(): {"▁two", "▁Two", "two", "Two"}}),
        ("traffic light", ["traffic sign"], {("▁traffic",): {"▁light"}, ("▁Tra", "ffic"): {"▁light"}}),
        ("traffic", ["traffic sign"], {("▁traffic",): {"</s>"}}),  # where it ends, the other goes on
        ("traffic light", ["Traffic light"], {(): {"▁traffic", "▁Tra"}}),  # the same answer is no rival
    ],
)
def test_an_answer_begins_where_it_is_told_from_the_others(pieces, answer, others, starts):
    found = starts_of(pieces, answer, others)
    for shared, ids in starts.items():
        assert ids <= found[shared]
    assert not any(is_blank(pieces.tokenizer, index) for index in ids_of(pieces, found))
    rivals = token_spellings(pieces, others)
    for shared, ids in found.items():
        for rival in (each for other in others if other.lower() != answer.lower() for each in rivals[other]):
            bare = pieces.tokenizer.convert_ids_to_tokens(rival[leading_blanks(pieces.tokenizer, rival) :])
            assert tuple(bare[: len(shared)]) != shared or not ids & set(bare[len(shared) : len(shared) + 1])


def ids_of(loaded, found):
    words = [word for shared, ids in found.items() for word in (*shared, *ids)]
    return loaded.tokenizer.convert_tokens_to_ids(words)


def test_a_capital_that_begins_another_answer_tells_nothing(pieces):
    found = starts_of(pieces, "yellow", ["Y"])
    assert "▁Y" not in found[()]
    assert "▁yellow" in found[()]
    assert found["▁Y",] == {"ellow"}


@pytest.mark.parametrize("prompt", [f"{PROMPT} ", f"{PROMPT}\n", f"{PROMPT}  "])
@pytest.mark.parametrize("answer", ["yes", "left", "3", "traffic light"])
def test_a_prompt_that_ends_in_a_blank_leaves_every_word_its_tokens(pieces, prompt, answer):
    bare = set(token_spellings(pieces, [answer])[answer])
    assert bare & set(token_spellings(prompted(pieces, prompt), [answer])[answer])


def test_answers_the_tokenizer_does_not_know_have_no_start(tiny_llava):
    assert starts_of(tiny_llava, "zebra", ["red"]) == {}
    assert starts_of(tiny_llava, "Red", ["blue"]) == {(): {"red"}}


def test_an_empty_answer_is_refused(tiny_llava):
    with pytest.raises(DataError, match="empty answer"):
        token_spellings(tiny_llava, ["yes", " "])


def test_an_answer_has_room_for_the_longest_candidate(pieces):
    spelled = token_spellings(pieces, ["yes", "traffic light"])
    longest = max(len(ids) for ids in spelled["traffic light"])
    assert tokens_needed(spelled) == longest + 2 > tokens_needed({"yes": ((1,),)}) == 3


def test_candidates_are_told_by_their_first_token(pieces):
    answers = ["yes", "no", "3", "2", "traffic light", "traffic sign", "teal", "T"]
    found = candidates(pieces, answers, token_spellings(pieces, answers))
    assert [each.answers for each in found] == [
        ("2",),
        ("3",),
        ("T",),
        ("no",),
        ("teal",),
        ("traffic light", "traffic sign"),
        ("yes",),
    ]
    ids = [index for each in found for index in each.ids if each.answers != ("T",)]
    assert len(ids) == len(set(ids))
    assert pieces.tokenizer.convert_tokens_to_ids("▁") not in ids


@pytest.fixture
def asked_of(asked):
    def batch(loaded, count=4):
        examples, pictures, _ = asked(count)
        return encode(loaded, examples, pictures).to(loaded)

    return batch


def answered(loaded, batch, starts=None, *, at_most=4, interventions=()):
    """Captured states, and the answers to a batch."""
    cache = DynamicCache()
    with entered(loaded, interventions, batch.spans):
        captured = capture(loaded, batch, cache=cache)
    starts = starts or [AnswerStarts(())] * len(batch)
    return captured, answer(loaded, batch, captured.reading, cache, interventions, starts=starts, at_most=at_most)


def logits_by_hand(loaded, batch, row, ids, interventions=()):
    """What follows the prompt of a row and some tokens, in one pass of its own, without padding or cache."""
    real = batch.inputs["attention_mask"][row].bool()
    fed = torch.cat([batch.inputs["input_ids"][row][real], torch.tensor(ids, dtype=torch.long)])[None]
    spans = grown(batch.take([row]).spans, len(ids)) if ids else batch.take([row]).spans
    kept = torch.cat([real, torch.ones(len(ids), dtype=torch.bool)])
    spans = type(spans)({name: mask[:, kept] for name, mask in spans.masks.items()}, spans.valid[:, kept])
    with torch.inference_mode(), entered(loaded, interventions, spans):
        return loaded.model(input_ids=fed, pixel_values=batch.inputs["pixel_values"][row][None]).logits[0, -1].float()


@pytest.mark.parametrize(
    "interventions",
    [(), (on_edge("image", "last"),), (on_edge("image", "question", (1,)), on_edge("question", "last"))],
)
def test_what_is_said_is_greedy_under_the_cut(tiny_llava, asked_of, interventions):
    batch = asked_of(tiny_llava)
    spoken = answered(tiny_llava, batch, interventions=interventions)[1].spoken
    ends = end_tokens(tiny_llava)
    for row, ids in enumerate(spoken.ids):
        by_hand = []
        while len(by_hand) < 4:
            best = int(logits_by_hand(tiny_llava, batch, row, by_hand, interventions).argmax())
            by_hand.append(best)
            if best in ends:
                break
        assert list(ids) == [index for index in by_hand if index not in ends]
        assert spoken.truncated[row] == (by_hand[-1] not in ends)
        assert spoken.texts[row] == tiny_llava.tokenizer.decode(ids).strip()


def test_saying_stops_when_all_have_ended(tiny_llava, asked_of, monkeypatch):
    batch = asked_of(tiny_llava)
    first = {ids[0] for ids in answered(tiny_llava, batch, at_most=1)[1].spoken.ids}
    monkeypatch.setattr(tiny_llava.model.generation_config, "eos_token_id", sorted(first))
    steps = []
    handle = tiny_llava.model.register_forward_pre_hook(lambda *_: steps.append(1))
    spoken = answered(tiny_llava, batch, at_most=8)[1].spoken
    handle.remove()
    assert len(steps) == 1
    assert spoken.texts == ("",) * 4
    assert not any(spoken.truncated)


@pytest.fixture
def blank_first(pieces):
    """The model says a blank after the prompt, whatever it is asked, and then what it likes best."""
    blank, colon = pieces.tokenizer.convert_tokens_to_ids("▁"), pieces.tokenizer.convert_tokens_to_ids(":")

    def push(_, args, kwargs, output):
        if kwargs["input_ids"][0, -1] == colon:
            output.logits[:, -1, blank] += 100
        return output

    handle = pieces.model.register_forward_hook(push, with_kwargs=True)
    yield blank
    handle.remove()


@pytest.mark.parametrize("interventions", [(), (on_edge("image", "last"),)])
def test_a_blank_in_front_is_read_past(pieces, asked_of, blank_first, interventions):
    batch = asked_of(pieces)
    starts = [starts_object(pieces, "3", ["2"])] * 4
    captured, found = answered(pieces, batch, starts, interventions=interventions)
    spoken, readout = found.spoken, found.readout
    assert {ids[0] for ids in spoken.ids} == {blank_first}
    assert spoken.blanks == tuple(leading_blanks(pieces.tokenizer, ids) for ids in spoken.ids)
    assert min(spoken.blanks) == 1
    for row in range(4):
        logits = logits_by_hand(pieces, batch, row, spoken.ids[row][: spoken.blanks[row]], interventions)
        torch.testing.assert_close(found.reading.logits[row], logits, atol=1e-5, rtol=1e-4)
        three = logits.softmax(0)[pieces.tokenizer.convert_tokens_to_ids("3")]
        torch.testing.assert_close(readout.answer_probability[row], three, atol=1e-6, rtol=1e-4)
        assert readout.predicted_id[row] == logits.argmax()
    torch.testing.assert_close(readout.lens[:, -1], readout.probability, atol=1e-6, rtol=1e-4)
    assert not torch.equal(captured.final, target(pieces, found.reading, kind="state"))


def starts_object(loaded, answer, others):
    return answer_starts(loaded, answer, others, token_spellings(loaded, [answer, *others]))


@pytest.mark.parametrize("interventions", [(), (on_edge("image", "last"),)])
def test_what_an_answer_shares_with_others_is_said_for_the_model(pieces, asked_of, interventions):
    batch = asked_of(pieces)
    answers = [("traffic light", ["traffic sign"]), ("yes", ["no"]), ("traffic", ["traffic sign"]), ("yellow", ["Y"])]
    starts = [starts_object(pieces, *each) for each in answers]
    assert max(each.longest for each in starts) >= 1
    _, found = answered(pieces, batch, starts, at_most=2, interventions=interventions)
    spoken = found.spoken
    for row, each in enumerate(starts):
        total = 0.0
        for start in each.starts:
            said, weight = list(spoken.ids[row][: spoken.blanks[row]]), 1.0
            for index in start.shared:
                weight *= float(logits_by_hand(pieces, batch, row, said, interventions).softmax(0)[index])
                said.append(index)
            after = logits_by_hand(pieces, batch, row, said, interventions).softmax(0)
            total += weight * float(after[list(start.ids)].sum())
        assert found.readout.answer_probability[row] == pytest.approx(total, rel=1e-4)


def test_an_answer_that_no_token_tells_has_no_probability(tiny_llava, asked_of):
    starts = [starts_object(tiny_llava, word, ["blue"]) for word in ("zebra", "red", "zebra", "Red")]
    captured, found = answered(tiny_llava, asked_of(tiny_llava), starts)
    likely = found.readout.answer_probability
    assert likely.isnan().tolist() == [True, False, True, False]
    red = captured.logits.softmax(-1)[:, tiny_llava.tokenizer.convert_tokens_to_ids("red")]
    torch.testing.assert_close(likely[[1, 3]], red[[1, 3]])


def test_the_lens_ends_at_the_models_own_probability(tiny_llava, asked_of):
    captured, found = answered(tiny_llava, asked_of(tiny_llava, 5))
    readout = found.readout
    torch.testing.assert_close(readout.lens[:, -1], readout.probability, atol=1e-6, rtol=1e-5)
    assert readout.lens.shape == (5, tiny_llava.depth + 1)
    with torch.inference_mode():
        logits = tiny_llava.model.lm_head(tiny_llava.text_model.norm(captured.last[1]))
    by_hand = logits.softmax(-1)[torch.arange(5), readout.predicted_id]
    torch.testing.assert_close(readout.lens[:, 1], by_hand, atol=1e-6, rtol=1e-5)


def test_targets(tiny_llava, asked_of):
    captured = capture(tiny_llava, asked_of(tiny_llava))
    reading = captured.reading
    assert torch.equal(target(tiny_llava, reading, kind="state"), captured.final)
    named = [Candidate(("a",), (7,)), Candidate(("b",), (8, 9))]
    logits = target(tiny_llava, reading, kind="logits", candidates=named)
    torch.testing.assert_close(logits[:, 0], captured.logits[:, 7])
    torch.testing.assert_close(logits[:, 1].exp(), captured.logits[:, 8].exp() + captured.logits[:, 9].exp())
    embedding = target(tiny_llava, reading, kind="answer-embedding")
    predicted = captured.logits.argmax(-1)
    assert torch.equal(embedding, tiny_llava.model.get_input_embeddings().weight[predicted])
    with pytest.raises(ConfigError, match="unknown target 'answer', expected one of: state, logits, answer-embedding"):
        target(tiny_llava, reading, kind="answer")

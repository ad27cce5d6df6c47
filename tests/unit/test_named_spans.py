"""Spans inside the question, around it and inside the picture: what they decode to on tokenizers that cut words."""

import re
from dataclasses import replace

import pytest
import torch
from tests.tokenizers import byte_level, llama_2, tiny_llava_over

from pidflow.errors import ConfigError
from pidflow.models.inputs import Example, encode
from pidflow.models.prompts import SINGLE_WORD, TEMPLATES, Prompt
from pidflow.names import SPANS

QUESTION = "Is the traffic light to the left of the jars red or light blue?"
EXAMPLE = Example(
    QUESTION,
    options=("light blue", "red", "light"),
    boxes=((0, 0, 9, 9),),
    answer="Light blue",
    objects=("traffic light", "jar"),
)


@pytest.fixture(scope="module", params=["llama-2", "byte-level"])
def speaking(request):
    """``speaking(name, instruction)``: a model over a real tokenizer with a named prompt."""
    texts = [QUESTION, *TEMPLATES.values(), SINGLE_WORD]
    tokenizer = llama_2() if request.param == "llama-2" else byte_level(texts, size=600)

    def build(name="2411.18620", instruction=SINGLE_WORD):
        loaded = tiny_llava_over(tokenizer, prompt="<image> {question}")
        filled = TEMPLATES[name].replace("{instruction}", instruction)
        return replace(loaded, prompting=Prompt(name, filled, instruction))

    return build


def said(loaded, batch, span, row=0):
    return loaded.tokenizer.decode(batch.inputs["input_ids"][row][batch.spans[span][row]]).strip()


def squeezed(text):
    return "".join(text.split())


def test_parts_of_the_question(speaking, picture):
    loaded = speaking()
    batch = encode(loaded, [EXAMPLE], [picture])
    assert squeezed(said(loaded, batch, "true-option")) == "lightblue"
    assert squeezed(said(loaded, batch, "false-option")) == "lightred"  # "light" stands by itself in "traffic light"
    assert squeezed(said(loaded, batch, "object-words")) == "trafficlightjars"
    spans = batch.spans
    assert torch.equal(spans["options"], spans["true-option"] | spans["false-option"])
    assert torch.equal(spans["question"], spans["options"] | spans["question-without-options"])
    assert not (spans["options"] & spans["question-without-options"]).any()


@pytest.mark.parametrize("name", ["2411.18620", "llama-3", "mistral", "plain"])
def test_parts_of_the_prompt_leave_nothing_out_and_do_not_overlap(speaking, picture, name):
    loaded = speaking(name)
    batch = encode(loaded, [EXAMPLE], [picture])
    parts = ["bos", "system", "image", "question", "instruction", "last", "template"]
    assert torch.stack([batch.spans[part] for part in parts]).sum(0).equal(batch.spans.valid.long())
    assert squeezed(SINGLE_WORD) in squeezed(said(loaded, batch, "instruction"))
    system = squeezed(said(loaded, batch, "bos+system"))  # a tokenizer may put no token of its own in front
    wanted = {"2411.18620": "A chat between a curious user", "llama-3": "header_id|> You are a helpful"}.get(name)
    assert batch.spans["system"].any() == (wanted is not None)
    if wanted is not None:
        assert squeezed(wanted) in system
        assert not {"USER", "user<|"} & set(re.findall(r"USER|user<[|]", system))


def test_a_prompt_without_instruction_has_no_such_span(speaking, picture):
    loaded = speaking("vicuna", "")
    assert not encode(loaded, [EXAMPLE], [picture]).spans["instruction"].any()


def test_an_instruction_that_the_question_repeats_is_found_after_it(speaking, picture):
    loaded = speaking("vicuna", "Is it red?")
    batch = encode(loaded, [Example("Is it red? Is it red?")], [picture])
    first = int(batch.spans["instruction"][0].int().argmax())
    assert first > int(batch.spans["question"][0].nonzero().max())


def test_where_a_sequence_begins(speaking, tiny_llava, asked, picture):
    loaded = speaking()
    batch = encode(loaded, [EXAMPLE, replace(EXAMPLE, question="Red?")], [picture] * 2)
    begins = batch.inputs["attention_mask"].argmax(1)
    assert batch.spans["bos"].int().argmax(1).equal(begins)
    assert batch.spans["bos"].sum(1).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ("/red|blue/", "redblue"),
        ("/RED/", ""),
        ("/(?i)RED/", "red"),
        ("/jars? .*blue/", "jarsredorlightblue"),
        ("/USER:/", "USER:"),
        ("/[a-z]+:|Is/+true-option", "Islightblue"),
    ],
)
def test_a_regular_expression_over_the_prompt(speaking, picture, span, found):
    loaded = speaking()
    batch = encode(loaded, [EXAMPLE], [picture])
    assert squeezed(said(loaded, batch, span)) == found
    assert not (batch.spans[span] & batch.spans["image"]).any()


def test_patterns_follow_rows_and_growth(speaking, picture):
    loaded = speaking()
    examples = [EXAMPLE, replace(EXAMPLE, question="Is it red?"), replace(EXAMPLE, question="Red, red or red?")]
    spans = encode(loaded, examples, [picture] * 3).spans
    for rows in ([2, 0], slice(1, 3), torch.tensor([1, 1]), torch.tensor([True, False, True])):
        assert torch.equal(spans.take(rows)["/red/"], spans["/red/"][rows])
    grown = spans.followed(torch.ones(3, 2, dtype=torch.bool), growing=("last",))
    assert torch.equal(grown["/red/"][:, :-2], spans["/red/"])
    assert not grown["/red/"][:, -2:].any()
    with pytest.raises(ConfigError, match="made without the text"):
        replace(spans, prompts=())["/red/"]


def test_padding_is_what_shows_nothing_of_the_picture(tiny_llava, wide):
    padded = replace(tiny_llava, image="pad")
    example = Example("is there a circle ?", boxes=((0.0, 0.0, 60.0, 20.0),))
    spans = encode(padded, [example], [wide]).spans
    assert torch.equal(spans["object"] | spans["padding"], spans["image"])  # the box covers the whole picture
    assert int(spans["padding"].sum()) == 24  # two of six rows of patches show the picture
    assert not encode(tiny_llava, [example], [wide]).spans["padding"].any()


def test_base_tiles_and_separators_make_up_a_tiled_picture(tiny_llava_next, wide):
    spans = encode(tiny_llava_next, [Example("is there a circle ?")], [wide]).spans
    parts = torch.stack([spans[name] for name in ("base", "tiles", "separators")])
    assert parts.sum(0).equal(spans["image"].long())
    assert parts.any(2).all()


def test_every_name_is_a_span(tiny_llava, asked):
    examples, pictures, _ = asked(6)
    assert set(encode(tiny_llava, examples, pictures).spans.masks) == set(SPANS)


def test_drawn_scenes_name_their_objects(asked):
    _, _, questions = asked(60)
    for question in questions:
        assert question.objects
        assert all(name in question.text for name in question.objects)

"""On real tables and real tokenizers: every right answer counts in every spelling, no wrong option does.

Each answer goes the way that a model's takes: cut into tokens behind the prompt, decoded, judged.
"""

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from tests.tokenizers import byte_level, llama_2

from pidflow.models.answers import judge, spellings
from pidflow.models.first_tokens import answer_starts, token_spellings
from pidflow.models.prompts import TEMPLATES
from pidflow.models.speech import text_of
from pidflow.models.standin.architecture import build_model, build_processor

GQA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "gqa-tasks"
TASKS = ("ChooseAttr", "ChooseCat", "ChooseRel", "CompareAttr", "LogicalObj", "QueryAttr")
PROMPT = TEMPLATES["llava-1.5-paper"].replace("{question}\n{instruction}", "what is this ?")
NUMBERS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty",
)


@cache
def questions(task):
    """Of each question of a GQA task its answer and what it has to be told from; skips where the tables are absent."""
    tables = list(GQA.glob(f"*_{task}.csv"))
    if not tables:
        pytest.skip(f"needs {GQA.name} beside the repository")
    table = pd.read_csv(tables[0], dtype=str, keep_default_na=False)
    if "false option" in table:
        pairs = zip(table["answer"], table["true option"], table["false option"], strict=True)
        return tuple((answer, tuple(dict.fromkeys((answer, *options)))) for answer, *options in pairs)
    everything = tuple(sorted(set(table["answer"])))
    return tuple((answer, everything) for answer in table["answer"])


def words():
    """Text to train a tokenizer on: the questions' own answers, half of them never seen whole."""
    return [answer for task in TASKS for answer, _ in questions(task)[::2]]


TOKENIZERS = {
    "llama-2": llama_2,
    "byte-level": lambda: byte_level(words()),
    "standin": lambda: build_processor().tokenizer,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def say(request):
    """``say(text)``: what comes of a text as an answer, None if the tokenizer does not know all of its words."""
    tokenizer = TOKENIZERS[request.param]()
    prefix = tokenizer(PROMPT)["input_ids"]

    @cache
    def said(text):
        ids = tokenizer(f"{PROMPT} {text}")["input_ids"]
        assert ids[: len(prefix)] == prefix
        known = tokenizer(text.removesuffix("."), add_special_tokens=False)["input_ids"]
        if request.param == "standin" and tokenizer.unk_token_id in known:
            return None
        return text_of(tokenizer, ids[len(prefix) :])

    return said


def spoken(answer):
    return [*spellings(answer), f"{answer.strip()}."]


@pytest.mark.parametrize("rule", ["normalised", "lenient"])
@pytest.mark.parametrize("task", TASKS)
def test_right_answers_count_and_wrong_options_do_not(say, task, rule):
    right, wrong = [], []
    for answer, candidates in questions(task):
        offered = candidates if task.startswith("Choose") else ()
        for candidate in candidates:
            for text in filter(None, map(say, spoken(candidate))):
                verdict = judge(text, answer, options=offered, rule=rule)
                (right if candidate == answer else wrong).append(verdict)
    if not right:
        pytest.skip("none of the answers are in the stand-in's vocabulary")
    print(f"{task}, {rule}: {sum(right)} of {len(right)} right, {sum(wrong)} of {len(wrong)} wrong ones count")
    assert all(right)
    assert not any(wrong)


@pytest.mark.parametrize("rule", ["normalised", "lenient"])
def test_numbers_are_right_as_themselves_alone(say, rule):
    for number, word in enumerate(NUMBERS):
        for other, name in enumerate(NUMBERS):
            for text in filter(None, map(say, (*spoken(str(other)), *spoken(name)))):
                same = number == other
                assert judge(text, str(number), rule=rule) <= same
                assert judge(text, word, rule=rule) <= same
                if rule == "lenient":
                    assert judge(text, str(number), rule=rule) == judge(text, word, rule=rule) == same
            for digits in filter(None, map(say, spoken(str(other)))):
                assert judge(digits, str(number), rule=rule) == (number == other)


@pytest.mark.parametrize("text", ["sofa", "tomatoes", "Yellow", "Truck", "Closed", "traffic light", "3", "T-shirt"])
def test_words_that_llama_cuts_in_pieces_are_right(text):
    """What was wrong before: a right answer whose first piece is not the longest first piece of all its spellings."""
    tokenizer = llama_2()
    prefix = tokenizer(PROMPT)["input_ids"]
    for answer in {text, text.lower()}:
        said = text_of(tokenizer, tokenizer(f"{PROMPT} {text}")["input_ids"][len(prefix) :])
        assert judge(said, answer)
        assert not judge(said, "2")
        assert not judge(said, "traffic sign")


class Named:
    """As much of a loaded model as spellings ask for."""

    def __init__(self, tokenizer, prompt):
        self.tokenizer, self.prompt = tokenizer, prompt
        self.processor = type("Processor", (), {"image_token": "<image>"})
        self.model = build_model(seed=0, width=32, depth=1)


@pytest.mark.parametrize("ending", ["", " ", "\n", "\n\n"])
@pytest.mark.parametrize("name", ["llama-2", "byte-level"])
def test_a_token_tells_every_answer_from_its_rivals(name, ending):
    """Behind any prompt, whatever it ends in, each answer of each table has a token of its own."""
    loaded = Named(TOKENIZERS[name](), "USER: <image>\n{question} ASSISTANT:" + ending)
    asked = {pair for task in TASKS for pair in questions(task)} | {
        (str(n), ("2", "3", "12", str(n))) for n in range(20)
    }
    spelled = token_spellings(loaded, [word for _, candidates in asked for word in candidates])
    for answer, candidates in asked:
        others = [each for each in candidates if each != answer]
        assert answer_starts(loaded, answer, others, spelled).starts, (answer, others)

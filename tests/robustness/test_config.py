"""Every bad configuration is refused before any job, with one sentence: where, what was found, what was expected."""

import json
import re
from copy import deepcopy
from math import inf, nan
from pathlib import Path

import pytest
import yaml

from pidflow.config import design
from pidflow.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
GONE = object()
MINE = {"family": "llava", "path": "/models/mine", "blocks": 32}
CUT = {"kind": "cut", "source": "image", "target": "question", "blocks": "all"}
PDE = {"kind": "pde", "equation": "diffusion", "steps": 2, "size": 0.25, "blocks": "all"}

# A key by its path, what it is set to (or GONE), and the sentence.
BAD = [
    # whole numbers: no text, truth values, fractions, NaN, nothing beyond their bounds
    ("seed", -1, "seed: found -1, expected a whole number from 0 to 4,294,967,295"),
    ("seed", 2**63, "seed: found 9223372036854775808, expected a whole number from 0"),
    ("seed", 1.5, "seed: found 1.5, expected a whole number"),
    ("seed", True, "seed: found True, expected a whole number"),
    ("seed", "0", "seed: found '0', expected a whole number .* numbers stand without quotes"),
    ("seed", None, "seed: found None, expected a whole number"),
    ("seed", nan, "seed: found nan, expected a whole number"),
    ("seed", inf, "seed: found inf, expected a whole number"),
    ("seed", [0], r"seed: found \[0\], expected a whole number"),
    ("items.folds", 1, "items.folds: found 1, expected a whole number from 2 to 100"),
    ("items.folds", 10**9, "items.folds: found 1000000000, expected a whole number from 2 to 100"),
    ("tasks.choose-attr.items", 0, "tasks.choose-attr.items: found 0, expected a whole number from 1 to 1,000,000"),
    ("tasks.choose-attr.items", 1e12, "tasks.choose-attr.items: found 1000000000000.0, expected a whole number"),
    (
        "models.standin.blocks",
        "two",
        "models.standin.blocks: found 'two', .* from 1 to 1,000 .number of decoder blocks",
    ),
    ("models.standin.blocks", 0, "models.standin.blocks: found 0, expected"),
    (
        "models.standin.batch_size",
        0,
        "models.standin.batch_size: found 0, expected auto or a whole number from 1 to 4,096",
    ),
    ("models.standin.batch_size", 10**7, "models.standin.batch_size: found 10000000, expected"),
    ("pca.max_components", 0, "pca.max_components: found 0, expected a whole number from 1"),
    ("pca.target_components", 3.5, "pca.target_components: found 3.5, expected a whole number"),
    ("pid.permutations", 3, "pid.permutations: found 3, expected a whole number from 20 to 10,000"),
    ("pid.permutations", 10**8, "pid.permutations: found 100000000, expected"),
    ("pid.jackknife_groups", 4, "pid.jackknife_groups: found 4, expected a whole number from 5 to 1,000"),
    ("pid.jackknife_groups", 10**6, "pid.jackknife_groups: found 1000000, expected"),
    ("sweep.answer_tokens", 0, "sweep.answer_tokens: found 0, expected a whole number from 1 to 64"),
    ("sweep.answer_tokens", 10**6, "sweep.answer_tokens: found 1000000, expected"),
    ("flow.stages", 10**6, "flow.stages: found 1000000, expected a whole number from 1 to 64"),
    ("flow.bins", 1, "flow.bins: found 1, expected a whole number from 2"),
    ("flow.max_steps", 0, "flow.max_steps: found 0, expected a whole number from 1"),
    ("flow.max_steps", 10**12, "flow.max_steps: found 1000000000000, expected"),
    ("interventions.diffusion.steps", -1, "interventions.diffusion.steps: found -1, expected a whole number from 0"),
    ("interventions.diffusion.steps", 10**6, "interventions.diffusion.steps: found 1000000, expected"),
    # numbers: finite and within bounds
    ("pca.variance", nan, "pca.variance: found nan, expected a number above 0 and at most 1"),
    ("pca.variance", 0, "pca.variance: found 0, expected a number above 0 and at most 1"),
    ("pca.variance", 95, "pca.variance: found 95, expected a number above 0 and at most 1"),
    ("pca.variance", "0.95", "pca.variance: found '0.95', expected a number .* without quotes"),
    ("sweep.least", 1, "sweep.least: found 1, expected a number above 0 and below 1"),
    ("flow.learning_rate", inf, "flow.learning_rate: found inf, expected a number above 0"),
    ("flow.learning_rate", "1e-3", "flow.learning_rate: found '1e-3', .* 1e-3 is written 1.0e-3 in YAML"),
    ("flow.bend_penalty", -0.1, "flow.bend_penalty: found -0.1, expected a number from 0"),
    ("flow.held_out_fraction", 1, "flow.held_out_fraction: found 1, expected a number above 0 and below 1"),
    ("datasets.scenes.language_prior", 2, "datasets.scenes.language_prior: found 2, expected a number from 0 to 1"),
    (
        "standins.standin.phases",
        {"tune": {"learning_rate": nan}},
        "phases.tune.learning_rate: found nan, expected a number",
    ),
    # continuous time that is unstable or makes no sense
    (
        "interventions.diffusion.size",
        5,
        r"interventions.diffusion: 'diffusion' is unstable: strength \* size = 5 exceeds 0.5",
    ),
    ("interventions.diffusion.size", 0, "interventions.diffusion.size: found 0, expected a number above 0"),
    ("interventions.diffusion.rate", 1, "interventions.diffusion: 'diffusion' has no reaction; leave rate out"),
    ("interventions.diffusion.equation", "heat", "found 'heat', expected one of: diffusion, wave, reaction-diffusion"),
    (
        "models.standin-diffusion.attention",
        {"equation": "wave", "steps": 1, "size": 2},
        "attention: 'wave' is unstable",
    ),
    ("models.standin.attention", {"equation": "wave"}, "models.standin.attention: 'steps' is missing"),
    ("models.standin.attention", "diffusion", "models.standin.attention: found 'diffusion', expected"),
    # words
    ("pca.language", "words", "pca.language: found 'words', expected one of: text, question, last"),
    ("pca.correct_only", "yes", "pca.correct_only: found 'yes', expected true or false"),
    ("extract.layers", [0, 9], r"extract.layers: \[0, 9\] are not layers of a model of 8 blocks, which has 0 to 8"),
    ("extract.layers", [-10], r"extract.layers: \[-10\] are not layers of a model of 8 blocks"),
    ("extract.layers", "last", "extract.layers: found 'last', expected all, or layers as"),
    ("extract.layers", [], r"extract.layers: found \[\], expected all, or layers as"),
    ("extract.layers", [1, 1], "extract.layers: 1 stands in the list twice"),
    ("extract.blocks", ["image"], "extract.blocks.0: found 'image', expected one of: vision, question, text, last"),
    ("extract.blocks", [], "extract.blocks: found"),
    ("extract.storage", "float8", "extract.storage: found 'float8', expected one of: float16, float32"),
    ("extract.target", "token", "extract.target: found 'token', expected one of: state, logits, answer-embedding"),
    ("models.standin.dtype", "fp16", "models.standin.dtype: found 'fp16', expected one of: auto, float32"),
    (
        "models.standin.device",
        "gpu",
        "models.standin.device: found 'gpu', expected auto, cpu, mps, cuda or cuda:<number>",
    ),
    ("models.standin.device", "cuda:x", "models.standin.device: found 'cuda:x', expected auto"),
    (
        "models.standin.family",
        "llavva",
        "models.standin.family: found 'llavva', expected one of: .*llava.*; did you mean 'llava'",
    ),
    ("models.standin.prompt", "Say {question}", "models.standin.prompt: .*<image>"),
    ("models.standin.path", "", "models.standin.path: found '', expected"),
    ("models.standin.path", GONE, "models.standin: 'path' is missing"),
    ("models.standin.revision", "main", "models.standin.revision: found 'main', expected .*40 hexadecimal"),
    (
        "datasets.scenes.reader",
        "tfds",
        "datasets.scenes.reader: found 'tfds', expected one of: easy-vqa, gqa, gqa-tasks",
    ),
    ("datasets.easy-vqa.split", "val", "datasets.easy-vqa.split: found 'val', expected one of: train, test"),
    ("datasets.mine", {"reader": "table"}, "datasets.mine: 'table' is missing, expected text"),
    ("datasets.mine", {"table": "x.csv"}, "datasets.mine: 'reader' is missing, expected one of: easy-vqa"),
    (
        "datasets.mine",
        {"reader": "table", "table": "x.csv", "images": "x", "columns": {"anwser": "y"}},
        "datasets.mine.columns: unknown key 'anwser', .*; did you mean 'answer'",
    ),
    (
        "pid.definitions",
        ["williams-beer"],
        "pid.definitions.0: found 'williams-beer', expected one of: broja, mmi, dep",
    ),
    ("pid.estimators", [], "pid.estimators: found .., expected a list of at least 1"),
    ("pid.estimators", "flow", "pid.estimators: found 'flow', expected a list of at least 1"),
    ("pid.estimators", ["flow", "flow"], "pid.estimators: 'flow' stands in the list twice"),
    ("claims.estimators", ["gaussian", "gaussian"], "claims.estimators: 'gaussian' stands in the list twice"),
    ("sweep.controls", ["none"], "sweep.controls.0: found 'none', expected one of: keep, random"),
    ("sweep.controls", ["random", "random"], "sweep.controls: 'random' stands in the list twice"),
    # keys
    ("pca.varianc", 0.9, "pca: unknown key 'varianc', expected one of: .*; did you mean 'variance'"),
    ("threads", 4, "config: unknown key 'threads', expected one of: seed, "),
    ("models.standin.trust_remote_code", True, "models.standin: unknown key 'trust_remote_code'"),
    ("flow.epochs", 3, "flow: unknown key 'epochs', expected one of: .*marginals"),
    ("interventions.image-question.colour", 1, "interventions.image-question: unknown key 'colour'"),
    ("standins.standin.phases", {"pretrain": {}}, "standins.standin.phases.*pretrain"),
    ("pid", GONE, "config: 'pid' is missing"),
    ("sweep.window", GONE, "sweep: 'window' is missing, expected a number of blocks"),
    ("tasks.choose-attr.dataset", GONE, "tasks.choose-attr: 'dataset' is missing"),
    ("pca", None, "pca: found None, expected a mapping"),
    ("models", [], r"models: found \[\], expected a mapping"),
    ("models.standin", "llava", "models.standin: found 'llava', expected a mapping"),
    ("flow", None, "flow: found None, expected a mapping"),
    # earlier words
    ("pid.routes", ["linear"], "pid: 'routes' is called 'estimators' now"),
    ("claims.routes", ["flow"], "claims: 'routes' is called 'estimators' now"),
    ("pid.estimators", ["linear"], "found 'linear', .* 'linear' is called 'gaussian' now"),
    ("pid.estimators", ["rank", "flow"], "found 'rank', .* 'rank' is called 'copula' now"),
    # ids
    ("run.tasks", ["Bad_Id"], "run.tasks.0: found 'Bad_Id', expected an id: at most 100 lower-case letters"),
    ("run.models", ["../standin"], "run.models.0: found '../standin', expected an id"),
    ("run.models", [""], "run.models.0: found '', expected an id"),
    ("run.models", ["standin", "standin"], "run.models: 'standin' stands in the list twice"),
    ("run.models", "standin", "run.models: found 'standin', expected a list"),
    ("run.models", [], r"run.models: found \[\], expected a list of at least 1"),
    ("run.models", [1], "run.models.0: found 1, expected an id"),
    ("run.models", ["standing"], "run.models: 'standing' is not defined under models, .*"),
    ("run.tasks", ["chess"], "run.tasks: 'chess' is not defined under tasks"),
    ("run.tasks", ["choose-atr"], "run.tasks: 'choose-atr' is not defined .*; did you mean 'choose-attr'"),
    ("run.models", ["stand-in"], "run.models: 'stand-in' is not defined .*; did you mean 'standin'"),
    ("sweep.edges", ["image->quesion"], "unknown span 'quesion', expected .*; did you mean 'question'"),
    ("run.conditions", ["intact", "cut"], "run.conditions: 'cut' is not defined under interventions"),
    ("run.conditions", ["image-question"], "run.conditions: 'intact' must be among them"),
    ("models.My_Model", MINE, "models: 'My_Model' is no id; expected at most 100 lower-case letters"),
    ("models.a--b", MINE, "models: 'a--b' is no id"),
    ("models.-a", MINE, "models: '-a' is no id"),
    ("tasks.choose-attr.dataset", "gqa", "tasks.choose-attr.dataset: 'gqa' is not defined under datasets"),
    ("interventions.intact", CUT, "interventions.intact: 'intact' means no intervention"),
    ("claims.knockout", "snip", "claims.knockout: 'snip' is not defined under interventions"),
    ("claims.blind", "dark", "claims.blind: 'dark' is not defined under interventions"),
    ("claims.knockout", "no-such id", "claims.knockout: found 'no-such id', expected"),
    ("claims.definitions", ["dep", "ince"], "claims.definitions.1: found 'ince', expected one of: broja"),
    # edges, blocks, windows
    ("interventions.image-question.source", "picture", "interventions.image-question.source: unknown span 'picture'"),
    ("interventions.image-question.source", "image+", "interventions.image-question.source: unknown span ''"),
    (
        "interventions.x",
        CUT | {"source": "last", "target": "image"},
        "interventions.x: 'last->image' runs against causality",
    ),
    ("interventions.x", CUT | {"blocks": [3, 1]}, r"interventions.x.blocks: the range \[3, 1\] is empty"),
    ("interventions.x", CUT | {"blocks": [0, 1, 2]}, r"interventions.x.blocks: found \[0, 1, 2\], expected all, or"),
    ("interventions.x", CUT | {"blocks": "some"}, "interventions.x.blocks: found 'some', expected all, or"),
    ("interventions.x", CUT | {"blocks": [0, True]}, "interventions.x.blocks: found .*expected all, or"),
    (
        "interventions.x",
        {"kind": "snip"},
        "interventions.x.kind: found 'snip', expected one of: cut, keep, noise, pathway",
    ),
    ("interventions.x", {"kind": "cut", "source": "image", "blocks": "all"}, "interventions.x: 'target' is missing"),
    ("interventions.x", PDE | {"source": "image"}, "interventions.x: unknown key 'source'"),
    (
        "interventions.image-question.blocks",
        [0, 8],
        r"blocks: \[0, 8\] is not a range of the 8 blocks of model 'standin'",
    ),
    ("sweep.window", 9, "sweep.window: model 'standin' cannot be swept, a window of 9 blocks reaches beyond"),
    ("sweep.window", 0, "sweep.window: found 0, expected a number of blocks"),
    ("sweep.window", "most", "sweep.window: found 'most', expected a number of blocks"),
    ("sweep.other_windows", [1, [0, 8]], "sweep.other_windows.1: model 'standin' cannot be swept"),
    ("sweep.other_windows", [1, 1], "sweep.other_windows: 1 stands in the list twice"),
    ("sweep.edges", ["image->"], "sweep.edges.0: found 'image->', expected source->target"),
    ("sweep.edges", ["image to last"], "sweep.edges.0: found 'image to last', expected source->target"),
    ("sweep.edges", ["last->question"], "sweep.edges.0: 'last->question' runs against causality"),
    ("sweep.edges", ["image->last", "image->last"], "sweep.edges: 'image->last' stands in the list twice"),
    ("sweep.edges", [], r"sweep.edges: found \[\], expected a list of at least 1"),
]


def edited(path, value):
    config = deepcopy(SHIPPED)
    *parents, last = path.split(".")
    place = config
    for key in parents:
        place = place[key]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    BAD,
    ids=[f"{path}={'gone' if value is GONE else repr(value):.30}" for path, value, _ in BAD],
)
def test_a_bad_configuration_is_refused_with_one_sentence(path, value, message):
    with pytest.raises(ConfigError) as caught:
        design.check(edited(path, value))
    sentence = str(caught.value)
    assert re.search(message, sentence), sentence
    assert sentence.startswith("config")
    assert "\n" not in sentence
    assert len(sentence) < 600


def test_whole_numbers_may_be_written_as_floats():
    config = edited("models.standin.blocks", 8.0)
    config["seed"], config["sweep"]["window"], config["pid"]["permutations"] = 1.0, 3.0, 20.0
    checked = design.check(config)
    found = [
        checked["models"]["standin"]["blocks"],
        checked["seed"],
        checked["sweep"]["window"],
        checked["pid"]["permutations"],
    ]
    assert [(type(number), number) for number in found] == [(int, 8), (int, 1), (int, 3), (int, 20)]


@pytest.mark.parametrize("config", [None, [], "seed: 0", 3, {}])
def test_what_is_no_configuration(config):
    with pytest.raises(ConfigError, match=r"^config: "):
        design.check(config)


def _paths(place, path=()):
    for key, value in place.items() if isinstance(place, dict) else enumerate(place):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _paths(value, (*path, key))


ODD = [None, True, -1, 0.5, nan, -inf, 10**400, "", "x" * 5000, "\x00", [], [[]], [None], {}, {"a": {}}, {1: 2}, b"x"]


@pytest.mark.parametrize("offset", range(6))
def test_no_odd_value_at_any_place_ends_in_a_traceback(offset):
    """Each place takes what it means or refuses with one sentence, and what is taken is plain."""
    for number, (*parents, last) in enumerate(_paths(SHIPPED)):
        config = deepcopy(SHIPPED)
        place = config
        for key in parents:
            place = place[key]
        place[last] = ODD[(number * 6 + offset) % len(ODD)]
        sentence = _refusal(config)
        assert "\n" not in sentence
        assert sentence.startswith("config")
        assert len(sentence) < 1000


def _refusal(config):
    """What is wrong with a configuration; one that is taken must be plain."""
    try:
        json.dumps(design.check(config), allow_nan=False)
    except ConfigError as err:
        return str(err)
    return "config is taken"

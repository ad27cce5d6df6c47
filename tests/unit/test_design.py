"""The configuration as shipped is valid, and every way to get it wrong has one clear sentence."""

import json
import os
import subprocess
import sys
from copy import deepcopy
from itertools import product
from pathlib import Path

import pytest
import yaml

from pidflow.config import design, stored
from pidflow.config.configuration import ESTIMATORS, FLOWLESS, keys
from pidflow.errors import ConfigError
from pidflow.interventions.pairs import check_causality
from pidflow.models.inputs import encode
from pidflow.names import SPANS, extent
from pidflow.pid.estimators._rows import LATENTS
from pidflow.plugins.registry import load

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "lib"
CONFIG = Path(__file__).resolve().parents[2] / "config" / "config.yaml"


@pytest.fixture
def config():
    return yaml.safe_load(CONFIG.read_text())


def test_the_shipped_configuration_is_valid(config):
    design.check(config)


def test_a_checked_configuration_is_plain_and_the_same(config):
    checked = design.check(config)
    assert checked == config
    assert json.loads(json.dumps(checked)) == checked


def test_the_schema_describes_every_key(config):
    """Types, bounds and words of every setting, those of plug-ins included."""
    schema = design.schema()
    assert set(config) == set(schema["properties"])
    for name, part in {"Configuration": schema, **schema["$defs"]}.items():
        assert part["additionalProperties"] is False, name
        for key, field in part["properties"].items():
            described = schema["$defs"].get(field.get("$ref", "").rsplit("/", 1)[-1], {}) | field
            assert described.get("description"), f"{name}.{key} has no description"
            for kind in (field, *field.get("anyOf", ())):
                if kind.get("type") in ("integer", "number"):
                    assert {"minimum", "exclusiveMinimum"} & set(kind), f"{name}.{key} is not bounded below"
                    assert {"maximum", "exclusiveMaximum"} & set(kind), f"{name}.{key} is not bounded above"


def edited(config, path, value):
    changed = deepcopy(config)
    *parents, last = path
    place = changed
    for key in parents:
        place = place[key]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["speed"], 3, "unknown key 'speed', expected one of: seed, reproduces"),
        (["pca", "varience"], 0.9, "config pca: unknown key 'varience'"),
        (
            ["pca", "variance"],
            1.5,
            "config pca.variance: found 1.5, expected a number above 0 and at most 1 (share of variance to keep)",
        ),
        (["run", "models"], ["gpt"], "config run.models: 'gpt' is not defined under models, which has: standin"),
        (["run", "tasks"], ["chess"], "config run.tasks: 'chess' is not defined"),
        (["run", "conditions"], ["intact", "cut"], "config run.conditions: 'cut' is not defined under interventions"),
        (["run", "conditions"], ["image-question"], "config run.conditions: 'intact' must be among them"),
        (
            ["run", "tasks"],
            ["Bad_Id"],
            "config run.tasks.0: found 'Bad_Id', expected an id: at most 100 lower-case",
        ),
        (["tasks", "choose-attr", "dataset"], "gqa", "tasks.choose-attr.dataset: 'gqa' is not defined under datasets"),
        (
            ["datasets", "scenes", "reader"],
            "tfds",
            "config datasets.scenes.reader: found 'tfds', expected one of: easy-vqa, gqa",
        ),
        (
            ["datasets", "scenes", "language_prior"],
            2,
            "config datasets.scenes.language_prior: found 2, expected a number from 0 to 1",
        ),
        (
            ["interventions", "image-question", "source"],
            "picture",
            "config interventions.image-question.source: unknown span 'picture', expected one of: image,",
        ),
        (
            ["interventions", "image-question", "kind"],
            "snip",
            "found 'snip', expected one of: cut, keep, noise, pathway",
        ),
        (["interventions", "image-question", "colour"], 1, "config interventions.image-question: unknown key 'colour'"),
        (["interventions", "diffusion", "speed"], 1, "config interventions.diffusion: unknown key 'speed'"),
        (
            ["interventions", "diffusion", "steps"],
            -1,
            "config interventions.diffusion.steps: found -1, expected a whole number from 0 to",
        ),
        (
            ["sweep", "edges"],
            ["image question"],
            "config sweep.edges.0: found 'image question', expected source->target",
        ),
        (
            ["sweep", "edges"],
            ["picture->last"],
            "config sweep.edges.0: unknown span 'picture', expected one of",
        ),
        (["sweep", "edges"], ["image+->last"], "config sweep.edges.0: unknown span '' in 'image+'"),
        (["sweep", "edges"], ["question->image"], "config sweep.edges.0: 'question->image' runs against causality"),
        (["sweep", "edges"], ["last->image+question"], "'last->image+question' runs against causality"),
        (["sweep", "window"], 9, "config sweep.window: model 'standin' cannot be swept, a window of 9 blocks reaches"),
        (["sweep", "window"], 0, "config sweep.window"),
        (
            ["sweep", "window"],
            [3, 2],
            "config sweep.window: the range [3, 2] is empty",
        ),
        (["sweep", "other_windows"], [1, [0, 8]], "config sweep.other_windows.1: model 'standin' cannot be swept, the"),
        (["sweep", "least"], 0, "config sweep.least: found 0, expected a number above 0 and below 1"),
        (["interventions", "image-question", "blocks"], [0, 8], "not a range of the 8 blocks of model 'standin'"),
        (
            ["interventions", "intact"],
            {"kind": "cut", "source": "image", "target": "last", "blocks": "all"},
            "'intact' means",
        ),
        (["claims", "knockout"], "cut", "config claims.knockout: 'cut' is not defined under interventions"),
        (
            ["claims", "knockout"],
            "image-question-only",
            "config claims.knockout: 'image-question-only' is a keep of image->question in all blocks, expected a cut",
        ),
        (
            ["claims", "knockout"],
            "diffusion",
            "'diffusion' is attention in continuous time (diffusion), expected a cut",
        ),
        (["interventions", "image-question", "source"], "image+question", "is a cut of image+question->question"),
        (["claims", "blind"], "dark", "config claims.blind: 'dark' is not defined under interventions"),
        (
            ["claims", "blind"],
            "image-question",
            "config claims.blind: 'image-question' is a cut of image->question in all blocks, which is not the loss",
        ),
        (["claims", "blind"], "image-question-random", "expected a cut of image->text in all blocks"),
        (["claims", "blind"], "diffusion", "config claims.blind: 'diffusion' is attention in continuous time"),
        (["interventions", "no-image", "blocks"], [0, 3], "'no-image' is a cut of image->text in blocks 0 to 3, which"),
        (["interventions", "no-image", "source"], "image+question", "is a cut of image+question->text in all blocks"),
        (["pid", "estimators"], ["gaussian"], "config claims.estimators: 'auto' is not defined under pid.estimators"),
        (["pid", "routes"], ["linear"], "config pid: 'routes' is called 'estimators' now"),
        (["claims", "routes"], ["flow"], "config claims: 'routes' is called 'estimators' now"),
        (
            ["pid", "estimators"],
            ["linear", "flow"],
            "found 'linear', expected one of: auto, copula, flow, gaussian, mixed",
        ),
        (["pid", "estimators"], ["rank"], "'rank' is called 'copula' now"),
        (["pid", "permutations"], 3, "config pid.permutations: found 3, expected a whole number from 20 to 10,000"),
    ],
)
def test_mistakes_are_named(config, path, value, message):
    with pytest.raises(ConfigError) as caught:
        design.check(edited(config, path, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "edge", ["text->question", "question->options", "options->question", "last->last", "image->image"]
)
def test_edges_within_and_across_spans_are_possible(config, edge):
    design.check(edited(config, ["sweep", "edges"], [edge]))


@pytest.mark.parametrize("chosen", [[], [0, 1, 2], [1, 3]])
def test_training_folds_are_some_of_the_folds(config, chosen):
    assert design.training_folds(design.check(config)) == [0, 1]
    wrong = design.check(edited(config, ["spectrum", "training"], chosen))  # not read by runs without a spectrum
    with pytest.raises(ConfigError, match=r"config spectrum.training: .* some, but not all, of the folds 0 to 2"):
        design.training_folds(wrong)


def test_single_tasks_may_be_scored_otherwise(config):
    of_one = design.check(edited(config, ["spectrum", "answers_of"], {"easy-shape": "top"}))
    assert [design.scored_answers(of_one, task) for task in ("easy-shape", "choose-rel")] == ["top", "options"]
    with pytest.raises(ConfigError, match=r"config spectrum.answers_of: 'nothing' is not defined under tasks"):
        design.scored_answers(edited(of_one, ["spectrum", "answers_of"], {"nothing": "top"}), "easy-shape")


def test_the_spans_of_an_edge_are_those_of_a_prompt(config, tiny_llava_next, asked):
    """Names, and which of them end before others begin."""
    examples, pictures, _ = asked(6)
    spans = encode(tiny_llava_next, examples, pictures).spans
    assert set(SPANS) == set(spans.masks)
    for source, target in product(spans.masks, repeat=2):
        # Within the image it depends on the picture which patches come first, around it on the prompt.
        if extent(source)[0] <= extent(target)[1]:
            design.check(edited(config, ["sweep", "edges"], [f"{source}->{target}"]))
            continue
        with pytest.raises(ConfigError, match="runs against causality"):
            design.check(edited(config, ["sweep", "edges"], [f"{source}->{target}"]))
        if (spans[source].any(1) & spans[target].any(1)).any():
            with pytest.raises(ConfigError, match="ends before"):
                check_causality(source, target, spans)


def test_layers_run_from_the_embedding_to_the_last_block(config):
    assert stored.layer_names(config, "standin") == [f"{layer:02d}" for layer in range(9)]


def test_only_stored_layers_are_decomposed_and_statements_need_the_last(config):
    config["extract"]["layers"] = [-1, 0, 4]
    assert stored.layer_names(config, "standin") == ["00", "04", "08"]
    assert stored.last_layers_stored(config)
    config["extract"]["layers"] = [0, 4]
    with pytest.raises(ConfigError, match=r"extract.layers: \[0, 4\] lacks layer 8 of model 'standin', its last"):
        stored.last_layers_stored(config)


@pytest.mark.parametrize(("blocks", "lacking"), [(["text", "last"], "vision"), (["vision", "last"], "text")])
def test_decompositions_need_the_blocks_that_they_read(config, blocks, lacking):
    assert stored.language_block(config) == "text"
    config["extract"]["blocks"] = blocks
    design.check(config)  # states alone can be had
    with pytest.raises(ConfigError, match=f"extract.blocks: lacks '{lacking}', which .* nothing beyond `activations`"):
        stored.language_block(config)


def test_the_knockout_judged_is_one_of_the_run(config):
    assert design.judged_knockout(config) == "image-question"
    config["run"]["conditions"] = ["intact"]
    assert design.judged_knockout(config) is None


def test_some_conditions_are_only_answered(config):
    assert design.answers_only(config) == ["no-image", "no-question"]
    config["run"]["answered"] = ["image-question", "image-question-early", "no-question"]
    config["claims"]["unasked"] = None
    assert design.answers_only(design.check(config)) == ["image-question-early", "no-question", "no-image"]
    config["run"]["answered"] = ["image-last"]
    with pytest.raises(ConfigError, match=r"run\.answered: 'image-last' is not defined under interventions"):
        design.check(config)


def test_estimators_that_read_no_flow_are_known(config):
    """Of rows that are codes or clusters; a new estimator counts as one that does."""
    known = [name for name in ESTIMATORS if getattr(load("pid.estimators", name), "NEEDS", None) != LATENTS]
    assert sorted(FLOWLESS) == sorted(known)
    assert design.flows_everywhere(config)
    config["pid"]["estimators"] = ["auto", "gaussian"]
    assert not design.flows_everywhere(config)


def test_a_cut_has_the_control_with_its_edge_and_blocks(config):
    assert design.control_of(config, "image-question") == "image-question-random"
    for condition in (
        "intact",
        "image-question-early",
        "image-question-only",
        "image-question-random",
        "diffusion",
        None,
    ):
        assert design.control_of(config, condition) is None
    early = config["interventions"]["image-question-early"] | {"kind": "random"}
    config["interventions"]["early-random"] = early
    assert design.control_of(config, "image-question-early") == "early-random"
    config["interventions"]["early-random"] = early | {"match": "other-sources"}
    assert design.control_of(config, "image-question-early") == "early-random"
    config["interventions"]["same"] = early
    config["run"]["conditions"] = ["intact", "same"]
    assert design.control_of(config, "image-question-early") == "same"


def test_controls_are_those_of_the_run(config):
    assert design.controls(config) == {}
    config["run"]["conditions"] += ["image-question-random", "image-question-only"]
    assert design.controls(config) == {"image-question": "image-question-random"}
    config["run"]["conditions"].remove("image-question")
    assert design.controls(config) == {}


def test_claims_without_conditions(config):
    config["claims"] |= {"knockout": None, "blind": None}
    design.check(config)
    assert design.control_of(config, config["claims"]["knockout"]) is None


def test_tasks_models_and_conditions_have_titles_in_words(config):
    config["run"] |= {"tasks": ["choose-attr", "easy-shape"], "conditions": ["intact", "image-question"]}
    del config["tasks"]["easy-shape"]["title"]
    config["models"]["standin"]["title"] = "a small model"
    config["interventions"]["image-question"]["title"] = "a cut"
    config["interventions"]["no-image"]["title"] = "blind"
    found = design.titles(design.check(config))
    assert found["task"] == {"choose-attr": "choose an attribute", "easy-shape": "easy shape"}
    assert found["model"] == {"standin": "a small model"}
    assert {name: found["condition"][name] for name in ("intact", "image-question", "no-image")} == {
        "intact": "intact",
        "image-question": "a cut",
        "no-image": "blind",
    }


@pytest.mark.parametrize(
    ("section", "name", "other"),
    [("tasks", "easy-shape", "choose-attr"), ("interventions", "image-question", "intact")],
)
def test_two_of_a_run_have_two_titles(config, section, name, other):
    taken = design.titles(config)["task"].get(other, other)
    config[section][name]["title"] = taken
    with pytest.raises(ConfigError, match=rf"config {section}\.\S+\.title: another of the run is called '{taken}'"):
        design.titles(config)


def test_a_title_reruns_nothing_but_what_shows_it(config):
    plain = config["models"]["standin"], config["interventions"]["image-question"]
    before = [design.model_shape(config, "standin"), design.model_entry(config, "standin")]
    before += [design.intervention(config, "image-question"), design.task_settings(config, "choose-attr")]
    for entry in (*plain, config["tasks"]["choose-attr"], config["interventions"]["no-image"]):
        entry["title"] = f"another {id(entry)}"
    after = [design.model_shape(config, "standin"), design.model_entry(config, "standin")]
    after += [design.intervention(config, "image-question"), design.task_settings(config, "choose-attr")]
    assert after == before
    design.check(config)  # the condition without the image is what it is, whatever it is called


def test_conditions(config):
    assert design.intervention(config, "intact") is None
    assert design.intervention(config, "image-question")["target"] == "question"


def test_the_workflow_reads_its_configuration_without_heavy_libraries():
    """Every start of Snakemake pays for what this imports."""
    blocked = ["torch", "transformers", "pandas", "matplotlib", "h5py", "scipy", "pyarrow"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); from pidflow.config.design import schema; schema()"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(LIBRARY)}, check=True)


def test_every_key_is_listed_with_what_it_admits(config):
    listed = {key: (admits, means) for key, admits, means in keys()}
    assert {key for key in listed if "." not in key} == set(config)
    assert listed["pca.variance"] == ("a number above 0 and at most 1", "Share of variance to keep.")
    assert listed["pid.estimators"][0] == "a list of at least 1, each one of: auto, copula, flow, gaussian, mixed"
    assert "datasets.<reader table>.columns.answer" in listed
    assert "interventions.<kind random>.match" in listed
    assert all(means for _, means in listed.values())

"""A model whose blocks lie on several devices: where devices are fake, a move that is missing is an error."""

import numpy as np
import pytest
import torch
from tests.fake_devices import FIRST, SECOND, FakeDevices, spread
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, load_back, prefix_error, swept
from tests.tiny_families import save

from pidflow.errors import ConfigError
from pidflow.interventions.answer import answer
from pidflow.interventions.conditions import passes
from pidflow.interventions.intervention import intervention_of
from pidflow.interventions.model_check import check_model
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.models import placement
from pidflow.models.capture import capture
from pidflow.models.first_tokens import AnswerStarts
from pidflow.models.loading import load
from pidflow.models.placement import devices_of
from pidflow.models.probe_inputs import check_entry
from pidflow.models.readout import logit_lens, target

# Cross-attention, and a picture that enters again after the first blocks, with positions on three axes.
SPREAD = ("mllama", "qwen3-vl")
ENTRIES = (
    {"kind": "cut", "source": "image", "target": "question", "blocks": "all", "heads": [0, 1]},
    {"kind": "random", "source": "question", "target": "last", "blocks": [0, 1]},
    {"kind": "noise", "span": "question", "size": 1.0},
    {"kind": "swap", "span": "last", "blocks": [1, 2]},
    {"kind": "sublayer", "part": "mlp", "span": "question", "blocks": [1, 1]},
    {"kind": "sublayer", "part": "attention", "span": "last", "value": "mean", "blocks": [0, 2]},
)


def everything(loaded, batch):
    """Numbers of all that reads or changes a model, by name."""
    names = [str(row) for row in range(len(batch))]
    plans = [intervention_of(entry, depth=loaded.depth, seed=1).parts() for entry in ENTRIES]
    others = {"donors": batch.take(np.roll(np.arange(len(batch)), 1)), "sample": [batch]}
    plans = [[each.informed(loaded, others[each.needs]) if each.needs else each for each in plan] for plan in plans]
    found = {"entry": torch.tensor(check_entry(loaded, batch))}
    seen = capture(loaded, batch)
    found |= {"states": seen.states, "final": seen.final, "logits": seen.logits}
    found["lens"] = logit_lens(loaded, seen.last, seen.logits.argmax(-1))
    found["embedding"] = target(loaded, seen.reading, kind="answer-embedding")
    prefix = read_prefix(loaded, batch, plans, names=names, answer_tokens=2)
    for part in recompute(loaded, prefix, plans, names=names):
        for index, logits in zip(part.which, part.logits, strict=True):
            found[f"recomputed {index}"] = logits
            found[f"full {index}"] = full_pass(loaded, prefix, plans[index], names=names)
    for each in passes(loaded, batch, [(), *plans[:2]], names=names):
        found[f"pass {each.condition}"] = each.captured.states
        said = answer(
            *(loaded, batch, each.captured.reading, each.cache, plans[each.condition - 1] if each.condition else ()),
            names=names,
            starts=[AnswerStarts(())] * len(batch),
            at_most=2,
        )
        found[f"said {each.condition}"] = said.reading.logits
    outcome = swept(loaded, batch)
    found["sweep"] = torch.from_numpy(outcome.change_answer)
    return found


def alternating(loaded):
    """A device for every module: blocks on two in turn, embeddings on the first, all else on the second."""
    found = {}

    def note(path, module):
        inside = [each for each in (loaded.layers, loaded.text_model) if any(each is part for part in module.modules())]
        if inside:
            for name, child in module.named_children():
                note(f"{path}.{name}".lstrip("."), child)
        elif path:
            found[path] = SECOND

    note("", loaded.model)
    for place, block in enumerate(loaded.layers):
        found[path_of(loaded.model, block)] = (FIRST, SECOND)[place % 2]
    found[path_of(loaded.model, loaded.model.get_input_embeddings())] = FIRST
    return found


def path_of(model, module):
    return next(path for path, each in model.named_modules() if each is module)


@pytest.mark.parametrize("name", SPREAD)
def test_blocks_on_several_devices_give_the_same_numbers(name, tmp_path):
    loaded = load_back(CASES[name], tmp_path)
    expected = everything(loaded, asked_of(loaded))
    again = load_back(CASES[name], tmp_path)
    device_of = alternating(again)
    with FakeDevices() as fake:
        spread(again.model, device_of)
        object.__setattr__(again, "devices", devices_of(again.model))
        assert again.devices == (FIRST, SECOND)
        batch = asked_of(again)
        assert all(tensor.device == FIRST for tensor in batch.inputs.values())
        found = everything(again, batch)
        check_model(again, batch)
        assert prefix_error(again, batch) < 1e-4
    assert fake.moves[str(FIRST), str(SECOND)] > 0
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        same = torch.allclose(found[key], value, rtol=0, atol=1e-6, equal_nan=True)
        assert same, f"{key} differs by {float((found[key] - value).abs().max()):.2g}"


def test_what_is_not_moved_is_refused_by_the_fake_devices():
    with FakeDevices():
        here, there = torch.zeros(2, device=FIRST), torch.zeros(2, device=SECOND)
        with pytest.raises(RuntimeError, match="expected all tensors on one device"):
            here + there
        assert (here + there.to(FIRST)).device == FIRST


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save(CASES["llava"], tmp_path_factory.mktemp("llava"))


PLACES = {"model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "lm_head": "cpu"}


@pytest.mark.parametrize("device_map", ["auto", "balanced", PLACES | {"model.language_model": "disk"}], ids=str)
def test_weights_that_lie_elsewhere_give_the_same_numbers(saved, device_map):
    whole = load("llava", str(saved), prompt=CASES["llava"].prompt, device="cpu")
    loaded = load("llava", str(saved), prompt=CASES["llava"].prompt, device_map=device_map)
    assert loaded.revision == whole.revision
    assert loaded.devices == (torch.device("cpu"),)
    batch = asked_of(loaded)
    found, expected = check_model(loaded, batch), check_model(whole, batch)
    assert found == expected
    assert torch.equal(capture(loaded, batch).states, capture(whole, batch).states)
    if "disk" in device_map:
        assert {weight.device.type for weight in loaded.layers.parameters()} == {"meta"}


REFUSED = {
    "no such map": ({"device_map": "spread"}, "unknown device_map 'spread', expected auto, balanced, "),
    "no such module": ({"device_map": PLACES | {"model.eyes": 0}}, "torch sees no CUDA device"),
    "no such module on a device": ({"device_map": PLACES | {"model.eyes": "cpu"}}, "no module 'model.eyes'"),
    "left out": ({"device_map": PLACES}, "weight model.language_model.embed_tokens.weight has no device; name modules"),
    "no such device": ({"device_map": {"": "gpu"}}, "unknown device 'gpu'"),
    "two answers": ({"device_map": "auto", "device": "cpu"}, "device: cpu and a device_map contradict each other"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_map_that_makes_no_sense_is_refused_with_one_sentence(saved, name):
    given, sentence = REFUSED[name]
    with pytest.raises(ConfigError, match=sentence):
        load("llava", str(saved), prompt=CASES["llava"].prompt, **given)


def test_a_map_without_accelerate_is_refused(saved, monkeypatch):
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"device_map needs accelerate; pip install 'pidflow\[device-map\]'"):
        load("llava", str(saved), prompt=CASES["llava"].prompt, device_map="auto")

"""Models that cannot be used, each with the sentence that says why. Nothing here asks a network."""

import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pidflow.data.scenes import ask_about_new_scene, render
from pidflow.errors import ConfigError, DataError, PidflowError
from pidflow.interventions.intervention import entered
from pidflow.interventions.model_check import check_model
from pidflow.models import placement, weights
from pidflow.models.capture import capture
from pidflow.models.inputs import Example, encode
from pidflow.models.loading import load

STANDIN = Path(__file__).parents[2] / "workflow" / "resources" / "standin"
PROMPT = "USER: <image>\n{question} ASSISTANT:"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "someone/tiny-llava"
INDEX = "model.safetensors.index.json"


def edit(folder, name, change):
    path = folder / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_weights(change):
    def spoil(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def named(tensors, part):
    return next(name for name in sorted(tensors) if part in name)


def drop(tensors):
    del tensors[named(tensors, "layers.1.mlp.up_proj")]


def add_block(tensors):
    for name in [name for name in tensors if ".layers.2." in name and "language" in name]:
        tensors[name.replace(".layers.2.", ".layers.3.")] = tensors[name].clone()


def reshape(tensors):
    name = named(tensors, "layers.1.mlp.up_proj")
    tensors[name] = tensors[name][:-1].clone()


def spoil_with(value):
    def change(tensors):
        tensors[named(tensors, "layers.0.self_attn.q_proj")][0, 0] = value

    return edit_weights(change)


def shard(folder):
    """Split the weights into two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    of_file = {name: f"model-0000{1 + (place % 2)}-of-00002.safetensors" for place, name in enumerate(names)}
    for file in set(of_file.values()):
        save_file({n: tensors[n] for n in names if of_file[n] == file}, folder / file, metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": of_file}))


def lead_out(folder):
    shard(folder)
    outside = folder.parent / "outside.safetensors"
    shutil.move(folder / "model-00001-of-00002.safetensors", outside)
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(text.replace("model-00001-of-00002.safetensors", "../outside.safetensors"))


def link_out(folder):
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "outside.safetensors")


def lose_shard(folder):
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def pickle_only(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def index_of(text):
    def spoil(folder):
        shard(folder)
        (folder / INDEX).write_text(text)

    return spoil


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut(name):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return spoil


def crop(value):
    value["image_processor"]["crop_size"] = {"height": 64, "width": 64}


SPOILED = {
    "a weight is missing": (edit_weights(drop), "1 weights are missing (model"),
    "more blocks than the configuration says": (edit_weights(add_block), "weights are without a place in the model"),
    "a weight of another shape": (edit_weights(reshape), "1 weights are of another shape (model"),
    "NaN": (spoil_with(float("nan")), "self_attn.q_proj.weight holds NaN or infinity in torch.float32"),
    "infinity": (spoil_with(float("inf")), "self_attn.q_proj.weight holds NaN or infinity in torch.float32"),
    "weights cut short": (cut("model.safetensors"), "its weights cannot be loaded"),
    "weights that are text": (write("model.safetensors", "git lfs pointer"), "its weights cannot be loaded"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights; expected model.saf"),
    "pickled weights alone": (pickle_only, "only pickled weights (pytorch_model.bin), which can run code"),
    "an index that leads out": (lead_out, "'../outside.safetensors' leads out of the folder"),
    "a link that leads out": (link_out, "'model.safetensors' leads out of the folder"),
    "a shard is missing": (lose_shard, "'model-00002-of-00002.safetensors' is missing"),
    "an index cut short": (index_of('{"weight_map": {"a'), f"{INDEX} is damaged"),
    "an index that is a list": (index_of("[]"), f"{INDEX} is damaged"),
    "an index of nothing": (index_of('{"weight_map": {}}'), f"{INDEX} names no file"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "no config.json, so the folder holds no"),
    "a configuration cut short": (cut("config.json"), "its configuration (config.json) cannot be loaded"),
    "a configuration that is a list": (write("config.json", "[1]"), "its configuration (config.json) cannot be loaded"),
    "an unknown type": (
        lambda folder: edit(folder, "config.json", lambda value: value.update(model_type="llava_llama")),
        "llava_llama",
    ),
    "another family": (
        lambda folder: edit(folder, "config.json", lambda value: value.update(model_type="llava_next")),
        "is of type 'llava_next', but family 'llava' means 'llava'",
    ),
    "a damaged tokenizer": (cut("tokenizer.json"), "its processor or tokenizer cannot be loaded"),
    "a tokenizer that is a list": (write("tokenizer.json", "[]"), "its processor or tokenizer cannot be loaded"),
    "a damaged processor": (cut("processor_config.json"), "its processor or tokenizer cannot be loaded"),
    "pictures of another size": (
        lambda folder: edit(folder, "processor_config.json", crop),
        "its processor makes pictures of 64 pixels, its configuration expects pictures of 48 pixels",
    ),
    "patches of another size": (
        lambda folder: edit(folder, "processor_config.json", lambda value: value.update(patch_size=6)),
        "its processor makes patches of 6 pixels, its configuration expects patches of 8 pixels",
    ),
}
ASKED = {
    "no such folder": ({"path": "no/such/folder"}, "neither an existing folder nor a hub id 'owner/name'"),
    "a path of 5,000 characters": ({"path": "x" * 5000}, "neither an existing folder nor a hub id"),
    "no revision": ({"path": HUB_ID}, "must be a full commit hash (40 hexadecimal digits), found None"),
    "a branch": ({"path": HUB_ID, "revision": "main"}, "found 'main'; branches and tags move"),
    "the authors' own format": (
        {"path": "liuhaotian/llava-v1.5-7b", "revision": COMMIT},
        "in its authors' own format, which is not read here; set path to llava-hf/llava-1.5-7b-hf",
    ),
    "a folder with a revision": ({"revision": COMMIT}, "is a local folder, which has no revision"),
    "an unknown family": ({"family": "bert"}, "unknown model family 'bert'"),
    "an unknown dtype": ({"dtype": "int8"}, "unknown dtype 'int8', expected auto, float32"),
    "an unknown device": ({"device": "tpu-7"}, "unknown device 'tpu-7', expected auto, cpu, mps, cuda"),
    "a device without memory": ({"device": "meta"}, "unknown device 'meta'"),
    "mps without one": ({"device": "mps"}, "device 'mps' was asked for, but this machine has none"),
    "too few bits": ({"quantize": "2bit"}, "unknown quantize '2bit', expected 8bit, 4bit or null"),
    "a second GPU without one": ({"device": "cuda:7"}, "device 'cuda:7' was asked for, but torch sees"),
}


@pytest.fixture(scope="module")
def asked_standin():
    """The shipped stand-in with two questions."""
    loaded = load("llava", str(STANDIN), prompt=PROMPT, device="cpu")
    how = {"language_prior": 0.25, "answer": None}
    asked = [ask_about_new_scene("choose-attr", np.random.default_rng(seed), **how) for seed in range(2)]
    examples = [Example(question.text, question.options) for _, question in asked]
    return loaded, encode(loaded, examples, [render(scene) for scene, _ in asked])


@pytest.fixture
def model(saved_model, tmp_path):
    """A copy of the tiny checkpoint, to be spoiled."""
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


def check_sentence(refused, sentence):
    text = str(refused.value)
    assert sentence in text
    assert "\n" not in text
    assert len(text) < 900


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_model_is_refused_with_one_sentence(model, name):
    spoil, sentence = SPOILED[name]
    spoil(model)
    with pytest.raises(PidflowError) as refused:
        load("llava", str(model), prompt=PROMPT, device="cpu")
    check_sentence(refused, sentence)
    assert f"'{model}'" in str(refused.value)


@pytest.mark.parametrize("name", ASKED)
def test_what_no_model_answers_to_is_refused_with_one_sentence(model, name):
    asked, sentence = ASKED[name]
    with pytest.raises(ConfigError) as refused:
        load(**({"family": "llava", "path": str(model), "prompt": PROMPT} | asked))
    check_sentence(refused, sentence)


def test_a_whole_model_loads_and_harmless_extra_keys_do_no_harm(model):
    name = "model.language_model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_weights(lambda tensors: tensors.update({name: torch.ones(4)}))(model)
    assert load("llava", str(model), prompt=PROMPT).depth == 3


def test_fewer_bits_without_their_packages_are_refused_with_one_sentence(model, monkeypatch):
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        load("llava", str(model), prompt=PROMPT, device="cpu", quantize="4bit")
    check_sentence(refused, "needs accelerate and bitsandbytes; pip install 'pidflow[quantized]'")


@pytest.mark.parametrize(("kind", "tolerated"), [("8bit", 0.1), ("4bit", 0.6)])
def test_weights_in_fewer_bits_answer_nearly_as_before(kind, tolerated, asked_standin):
    """Needs pidflow[quantized]; everything that is checked at load holds in fewer bits too."""
    pytest.importorskip("accelerate", reason="pip install 'pidflow[quantized]'")
    pytest.importorskip("bitsandbytes", reason="pip install 'pidflow[quantized]'")
    whole, batch = asked_standin
    fewer = load("llava", str(STANDIN), prompt=PROMPT, device="cpu", quantize=kind)
    assert fewer.revision == f"{whole.revision}+{kind}"
    in_blocks = {id(module) for block in fewer.layers for module in block.modules()}
    few = {id(module) for module in fewer.model.modules() if kind[0] + "bit" in type(module).__name__}
    assert few
    assert few <= in_blocks  # neither what sees the picture nor the unembedding
    assert check_model(fewer, batch).row_error < 1e-5
    with entered(fewer, (), batch.spans):
        found = capture(fewer, batch)
    with entered(whole, (), batch.spans):
        expected = capture(whole, batch)
    difference = (found.logits - expected.logits).std() / expected.logits.std()
    assert 0 < difference < tolerated


def test_a_revision_is_that_of_what_is_loaded(model):
    """Shards count with their content, wherever the folder lies; what is not loaded does not count."""
    single = load("llava", str(model), prompt=PROMPT).revision
    shard(model)
    sharded = load("llava", str(model), prompt=PROMPT).revision
    moved = Path(shutil.copytree(model, model.parent / "moved"))
    (moved / "notes.md").write_text("moved")
    (moved / "training.json").write_text("{}")
    assert single != sharded == load("llava", str(moved), prompt=PROMPT).revision
    file = moved / "model-00001-of-00002.safetensors"
    tensors = load_file(file)
    tensors[sorted(tensors)[0]].flatten()[0] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    assert load("llava", str(moved), prompt=PROMPT).revision != sharded


def test_the_digest_for_planning_reads_no_large_file(model, monkeypatch):
    def digest():
        weights.source_digest.cache_clear()
        return weights.source_digest(str(model), None)

    before = digest()
    monkeypatch.setattr(weights, "state_of", partial(weights.state_of, hashed_bytes=100))
    large = digest()
    assert before != large == digest()
    content = (model / "model.safetensors").read_bytes()
    time.sleep(0.02)
    (model / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert digest() != large


@pytest.fixture
def hub(saved_model, tmp_path, monkeypatch):
    """A hub cache as the client lays it out: a snapshot of links to blobs. The network is a function that fails."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for place, file in enumerate(sorted(Path(saved_model).iterdir())):
        shutil.copy(file, repository / "blobs" / f"blob-{place}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"blob-{place}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def fetch(path, **settings):
        asked.append(path)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    return snapshot, asked


def test_a_commit_that_is_whole_in_the_cache_asks_no_network(hub):
    _, asked = hub
    loaded = load("llava", HUB_ID, revision=COMMIT, prompt=PROMPT)
    assert (loaded.depth, loaded.revision, asked) == (3, COMMIT, [])


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model.safetensors", "has it without its weights"),
        ("config.json", "has it without config.json"),
        ("tokenizer.json", "has it without tokenizer"),
        ("processor_config.json", "has it without processor_config.json"),
    ],
)
def test_what_the_cache_lacks_is_named_with_the_command_that_fetches_it(hub, missing, words):
    snapshot, asked = hub
    (snapshot / missing).unlink()
    if missing == "tokenizer.json":
        (snapshot / "tokenizer_config.json").unlink()
    with pytest.raises(DataError) as refused:
        load("llava", HUB_ID, revision=COMMIT, prompt=PROMPT)
    check_sentence(refused, words)
    check_sentence(refused, f"`hf download {HUB_ID} --revision {COMMIT}`")
    assert asked == []


def test_another_commit_in_the_cache_is_named(hub):
    with pytest.raises(DataError, match=f"does not have it, only {COMMIT}, and a study fetches nothing.*hf download"):
        load("llava", HUB_ID, revision="f" * 40, prompt=PROMPT)


def test_digests_for_planning_import_no_heavy_library():
    code = "import sys, pidflow.models.weights; print(*{'torch', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    library = str(Path(weights.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": library}, capture_output=True, text=True)
    assert done.stdout.split() == []
    assert done.returncode == 0


def test_there_are_twenty_and_more():
    assert len(SPOILED) + len(ASKED) >= 35

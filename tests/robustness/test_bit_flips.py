"""One bit of a result flips: what is read is the same, or one sentence says that the file is damaged. Never another."""

import numpy as np
import pandas as pd
import pytest
import torch

from pidflow.errors import DataError
from pidflow.files import store

FLIPS = 150  # of each kind of file: 600 in all
IDENTITY = store.Identity("standin", "choose-rel", "intact", revision="sha256:00", dtype="float32")


def write_activations(path):
    rng = np.random.default_rng(0)
    with store.writing_h5(path, kind="activations", identity=IDENTITY, attrs={"layers": 1, "prompt": "é"}) as file:
        for layer in range(2):
            for block in store.BLOCKS:
                store.put(file, f"layer-{layer:02d}/{block}", rng.normal(size=(6, 4)).astype(np.float16))
        store.put(file, "target", rng.normal(size=(6, 2)))
        store.put(file, "scalar", 3.5)
        file["target"].attrs["candidates"] = "red"
        for name in ("item_id", "image_id"):
            store.put(file, name, [f"frage-ü-{row}" for row in range(6)])
        store.put(file, "fold", np.arange(6))


def read_activations(path):
    with store.reading_activations(path, expected=IDENTITY) as data:
        found = [repr(sorted(data.attrs.items())), repr(data.identity), data.file["target"].attrs["candidates"]]
        data.file.visit(lambda name: found.append(name))
        arrays = [data.state(layer, block) for layer in range(2) for block in store.BLOCKS]
        arrays += [data.target(), data.item_id, data.image_id, data.fold, store.take(data.file, "scalar")]
        return repr([*found, *((each.dtype, each.shape, each.tolist()) for each in map(np.asarray, arrays))])


def write_table(path):
    rows = {"item_id": ["a", "ü", "c"], "probability": [0.25, 0.5, np.nan], "correct": [True, False, True]}
    store.write_table(path, pd.DataFrame(rows | {"boxes": [[[1.0, 2.0]], [], [[3.0, 4.0]]]}), identity=IDENTITY)


def read_table(path):
    frame = store.read_table(path, columns=("item_id", "correct"), expected=IDENTITY)
    return repr([store.table_identity(path), list(frame.columns), list(frame.dtypes), frame.to_dict("list")])


def write_json(path):
    store.write_json(path, {"atoms": {"synergy": 0.125, "ü": None}, "n": 900, "notes": ["x"] * 20}, identity=IDENTITY)


def read_json(path):
    return repr(store.read_json(path, expected=IDENTITY))


def write_tensors(path):
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.tensor([1, 2], dtype=torch.int64)}
    store.write_tensors(path, tensors, identity=IDENTITY)


def read_tensors(path):
    return repr(
        {name: (each.dtype, each.tolist()) for name, each in store.read_tensors(path, expected=IDENTITY).items()}
    )


KINDS = {
    "a.h5": (write_activations, read_activations),
    "a.parquet": (write_table, read_table),
    "a.json": (write_json, read_json),
    "a.safetensors": (write_tensors, read_tensors),
}


def outcome(read, path):
    """What is read, or else the sentence that refuses it."""
    try:
        return read(path), None
    except DataError as err:
        return None, str(err)


@pytest.mark.parametrize("name", KINDS)
def test_no_flipped_bit_goes_unnoticed(tmp_path, name):
    path = tmp_path / name
    write, read = KINDS[name]
    write(path)
    whole, expected = path.read_bytes(), read(path)
    bits = np.random.default_rng(len(name)).choice(8 * len(whole), size=FLIPS, replace=False)
    refused = 0
    for bit in bits.tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found, sentence = outcome(read, path)
        if sentence is None:
            assert found == expected, f"bit {bit} changed what is read"
        else:
            refused += 1
            assert sentence.startswith(f"{path}: ")
            assert "\n" not in sentence
    assert refused > 0.9 * FLIPS  # the rest would mean that nothing was compared


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_no_cut_file_goes_unnoticed(tmp_path, name, share):
    path = tmp_path / name
    write, read = KINDS[name]
    write(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"changed since it was written|carries no checksum"):
        read(path)


@pytest.mark.parametrize("name", KINDS)
def test_two_writers_write_the_same_bytes(tmp_path, name):
    write, _ = KINDS[name]
    (tmp_path / "again").mkdir()
    write(tmp_path / name)
    write(tmp_path / "again" / name)
    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()

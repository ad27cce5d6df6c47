"""Files are whole or absent, and damaged or foreign ones are named as such."""

import fcntl
import json
import resource
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from tests.sealed import reseal

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.stages.plot import write_figure

LIBRARY = Path(store.__file__).parents[1]


def left_over(folder):
    return sorted(path.name for path in folder.iterdir())


def activation_arrays(n=5, layers=2, width=3):
    rng = np.random.default_rng(0)
    arrays = {
        f"layer-{layer:02d}/{block}": rng.normal(size=(n, width)).astype(np.float16)
        for layer in range(layers + 1)
        for block in store.BLOCKS
    }
    arrays["target"] = rng.normal(size=(n, 2)).astype(np.float32)
    arrays["item_id"] = [f"frage-ü-{row}" for row in range(n)]
    arrays["image_id"] = [f"im{row}" for row in range(n)]
    arrays["fold"] = np.arange(n)
    return arrays


@pytest.fixture
def activations(tmp_path):
    path = tmp_path / "deep" / "a.h5"
    store.write_h5(path, activation_arrays(), kind="activations", attrs={"layers": 2, "model": "m"})
    return path


def test_activations_come_back_as_they_were_written(activations):
    expected = activation_arrays()
    with store.reading_activations(activations) as data:
        assert (data.layers, data.n, data.width) == (2, 5, 3)
        assert data.item_id.tolist() == expected["item_id"]
        assert data.fold.tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_array_equal(data.state(1, "text"), expected["layer-01/text"])
        assert data.state(1, "text").dtype == np.float64
        np.testing.assert_array_equal(data.target(), expected["target"])
        assert data.attrs["model"] == "m"
        assert json.loads(data.attrs["versions"])["h5py"] == h5py.__version__


def test_text_is_utf8_and_rows_are_chunked(activations):
    with h5py.File(activations) as file:
        assert all(file[name].fletcher32 for name in ("item_id", "fold", "target", "layer-02/last"))
        assert h5py.check_string_dtype(file["item_id"].dtype).encoding == "utf-8"
        assert file["layer-00/vision"].chunks == (5, 3)


def test_chunks_hold_whole_rows_of_about_a_megabyte(tmp_path):
    with store.writing_h5(tmp_path / "a.h5", kind="x") as file:
        store.reserve(file, "wide", (1000, 4096), "float16")
        assert file["wide"].chunks == (128, 4096)
        store.reserve(file, "empty", (0, 4), "float64")


@pytest.mark.parametrize("value", [{"a": [1, 2]}, None, True, 3, 0.5, "text", ["x"], np.float64(2.0), np.int64(4)])
def test_attributes_survive(tmp_path, value):
    store.write_h5(tmp_path / "a.h5", {}, kind="x", attrs={"value": value})
    with store.reading_h5(tmp_path / "a.h5", kind="x") as file:
        found = file.attrs["value"]
        if isinstance(value, dict | list) or value is None:
            found = json.loads(found)
        assert found == value


def write_half(path):
    with store.writing_h5(path, kind="activations") as file:
        store.put(file, "x", np.zeros(10))
        raise ZeroDivisionError


def test_an_exception_leaves_nothing_and_keeps_the_old_file(tmp_path, activations):
    before = activations.read_bytes()
    for path in (activations, tmp_path / "new.h5"):
        with pytest.raises(ZeroDivisionError):
            write_half(path)
    assert activations.read_bytes() == before
    assert left_over(tmp_path) == ["deep"]
    assert left_over(activations.parent) == ["a.h5"]


@pytest.fixture
def small_files():
    """No file may grow past 64 KiB: what a full disk looks like from inside."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def write_large_h5(path):
    store.write_h5(path, {"x": np.random.default_rng(0).normal(size=(1000, 1000))}, kind="x")


def write_large_table(path):
    store.write_table(path, pd.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)}))


def large_figure():
    figure = Figure()
    figure.subplots().plot(*np.random.default_rng(0).normal(size=(2, 5000)))
    return figure


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_large_h5, "a.h5"),
        (write_large_table, "a.parquet"),
        (write_large_table, "a.csv"),
        (lambda path: store.write_json(path, {"x": list(range(100_000))}), "a.json"),
        (lambda path: store.write_tensors(path, {"x": torch.zeros(100_000)}), "a.safetensors"),
        (lambda path: store.write_text(path, "x" * 100_000), "a.html"),
        (lambda path: write_figure(large_figure(), [path]), "a.png"),
        (lambda path: write_figure(large_figure(), [path]), "a.svg"),
    ],
)
def test_a_full_disk_leaves_nothing_behind(tmp_path, small_files, write, name):
    with pytest.raises(DataError, match=r"could not be written .* free disk space"):
        write(tmp_path / name)
    assert left_over(tmp_path) == []
    (tmp_path / name).write_text("an earlier result")
    with pytest.raises(DataError):
        write(tmp_path / name)
    assert (tmp_path / name).read_text() == "an earlier result"
    assert left_over(tmp_path) == [name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be written"):
        store.write_json(tmp_path / "file" / "a.json", {})


def test_another_files_trouble_is_not_called_ours(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        read_while_writing(tmp_path)
    assert left_over(tmp_path) == []


def read_while_writing(folder):
    with store.replacing(folder / "a.txt") as temporary:
        temporary.write_text((folder / "elsewhere" / "b.txt").read_text())


def damage(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    reseal(path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_text("not an HDF5 file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.__delitem__("kind"), "without 'kind' and 'schema_version', so not one of ours"),
        (lambda file: file.attrs.__setitem__("kind", "pca"), "holds 'pca', expected 'activations'"),
        (
            lambda file: file.attrs.__setitem__("schema_version", 99),
            "schema version 99, this version of pidflow reads 2",
        ),
        (lambda file: file.attrs.__setitem__("layers", 3), "says 3 blocks and layers 0 to 3, but holds 3 .*'layer-03'"),
        (lambda file: file.attrs.__setitem__("layers", "two"), "attribute 'layers' is 'two', expected a whole number"),
        (lambda file: file.__delitem__("layer-01/text"), "'layer-01/text' holds nothing, expected \\(5, 3\\)"),
        (lambda file: file.__delitem__("fold"), "no dataset '/fold'; the file has image_id"),
        (lambda file: shorten(file, "layer-02/vision"), "'layer-02/vision' holds \\(4, 3\\), expected \\(5, 3\\)"),
        (lambda file: shorten(file, "image_id"), "'/image_id' has shape \\(4,\\), expected \\(5,\\)"),
    ],
)
def test_damaged_and_foreign_files_are_named(activations, change, message):
    damage(activations, change)
    with pytest.raises(DataError, match=f"a.h5: .*{message}"), store.reading_activations(activations):
        pass


def shorten(file, name):
    values = file[name][:-1]
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("change", "message"),
    [(truncate, "changed since it was written"), (overwrite, "carries no checksum, so pidflow did not write it")],
)
def test_files_that_are_no_hdf5_are_named(activations, change, message):
    change(activations)
    with pytest.raises(DataError, match=f"a.h5: {message}"), store.reading_activations(activations):
        pass


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.h5: no such file"), store.reading_h5(tmp_path / "none.h5", kind="x"):
        pass
    with pytest.raises(DataError, match=r"none\.parquet: no such file"):
        store.read_table(tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        store.read_json(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_tables(tmp_path, name):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "ü"], "c": [[1.0, 2.0], []]})
    if name.endswith("csv"):
        frame = frame.drop(columns="c")
    store.write_table(tmp_path / name, frame)
    found = store.read_table(tmp_path / name) if name.endswith("parquet") else pd.read_csv(tmp_path / name)
    assert found.map(str).equals(
        frame.map(lambda value: str(np.array(value)) if isinstance(value, list) else str(value))
    )
    assert left_over(tmp_path) == [name]


def test_bad_tables_are_named(tmp_path):
    store.write_table(tmp_path / "t.parquet", pd.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="lacks the columns b, c; it has a"):
        store.read_table(tmp_path / "t.parquet", columns=("a", "b", "c"))
    (tmp_path / "u.parquet").write_bytes(b"PAR1 no PAR1")  # of another program
    with pytest.raises(DataError, match="not a readable parquet table"):
        store.read_table(tmp_path / "u.parquet")
    with pytest.raises(DataError, match=r"written as \.parquet or \.csv, not '\.xlsx'"):
        store.write_table(tmp_path / "t.xlsx", pd.DataFrame())


@dataclass(frozen=True)
class Atoms:
    redundancy: float
    synergy: np.ndarray


def test_json_takes_what_results_are_made_of(tmp_path):
    value = {"atoms": Atoms(np.float32(0.5), np.arange(2)), "n": np.int64(3), "path": tmp_path, "ü": None}
    store.write_json(tmp_path / "a.json", value)
    assert store.read_json(tmp_path / "a.json") == {
        "atoms": {"redundancy": 0.5, "synergy": [0, 1]},
        "n": 3,
        "path": str(tmp_path),
        "ü": None,
    }


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], np.float64("nan")])
def test_json_refuses_what_json_cannot_say(tmp_path, value):
    with pytest.raises(DataError, match="use null for a number that does not exist"):
        store.write_json(tmp_path / "a.json", {"value": value})
    assert left_over(tmp_path) == []


def test_what_was_asked_for_is_named_beside_what_the_file_has(activations):
    with store.reading_activations(activations) as data:
        with pytest.raises(
            DataError, match=r"block 'lats' of layer 1; .* vision, question, text, last of layers 0 to 2"
        ):
            data.state(1, "lats")
        with pytest.raises(DataError, match=r"block 'last' of layer 3; .* layers 0 to 2"):
            data.state(3, "last")
        with pytest.raises(DataError, match=r"no dataset '/layer-01/z1'; '/layer-01' has last, question, text, vision"):
            store.take(data.file, "layer-01/z1")


def test_a_locked_file_is_read(activations):
    with open(activations, "rb+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with store.reading_activations(activations) as data:
            assert data.n == 5


IDENTITY = store.Identity("m", "t", "intact", revision="r", prompt="p", dtype="float32", items="i", settings="s")


def write_result(path):
    if path.suffix == ".h5":
        store.write_h5(path, {"x": [1.0]}, kind="x", identity=IDENTITY)
    elif path.suffix == ".parquet":
        store.write_table(path, pd.DataFrame({"x": [1.0]}), identity=IDENTITY)
    elif path.suffix == ".json":
        store.write_json(path, {"x": 1.0}, identity=IDENTITY)
    else:
        store.write_tensors(path, {"x": torch.ones(1)}, identity=IDENTITY)


def read_result(path, expected):
    if path.suffix == ".h5":
        with store.reading_h5(path, kind="x", expected=expected) as file:
            return store.take(file, "x")
    read = {".parquet": store.read_table, ".json": store.read_json, ".safetensors": store.read_tensors}[path.suffix]
    return read(path, expected=expected)["x"]


@pytest.mark.parametrize("suffix", [".h5", ".parquet", ".json", ".safetensors"])
@pytest.mark.parametrize("field", list(IDENTITY.known()))
def test_a_file_about_something_else_is_refused_with_both_sides(tmp_path, suffix, field):
    path = tmp_path / f"a{suffix}"
    write_result(path)
    for expected in (IDENTITY, store.Identity(task="t"), store.Identity()):
        assert np.asarray(read_result(path, expected)) == 1
    there = getattr(IDENTITY, field)
    with pytest.raises(DataError, match=f"a{suffix}: was made for {field} '{there}', asked for is {field} 'other'"):
        read_result(path, replace(IDENTITY, **{field: "other"}))


@pytest.mark.parametrize("field", ["model", "task", "revision", "prompt", "dtype", "items", "settings"])
def test_conditions_that_differ_in_more_than_the_condition_are_not_compared(field):
    other = replace(IDENTITY, condition="cut")
    IDENTITY.check_comparable(other, where="a", other_where="b")
    with pytest.raises(DataError, match=f"a and b cannot be compared: .* {field} '.*', the other with {field} 'new'"):
        IDENTITY.check_comparable(replace(other, **{field: "new"}), where="a", other_where="b")


def test_checksums_tell_files_apart(tmp_path):
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        store.write_json(tmp_path / f"{name}.json", {"x": value})
    a, b, c = (store.checksum_of(tmp_path / f"{name}.json") for name in "abc")
    assert a == b != c


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    script = (
        "import os, signal, sys; from pidflow.files import store\n"
        "with store.replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("a.json", "b.json"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], env={"PYTHONPATH": str(LIBRARY)}, check=False)
    of_a, of_b = sorted(tmp_path.iterdir())
    with store.replacing(tmp_path / "a.json") as living:
        living.write_text("mine")
        store.write_json(tmp_path / "a.json", {})
        assert left_over(tmp_path) == sorted([living.name, of_b.name, "a.json"])
    assert not of_a.exists()

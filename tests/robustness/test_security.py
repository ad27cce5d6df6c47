"""What SECURITY.md promises: no pickles, no code that comes with data, no shell, nothing outside a folder, no bombs."""

import ast
import io
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from pidflow.data.readers import _rows
from pidflow.errors import DataError
from pidflow.provenance import PACKAGE
from pidflow.spectrum import lens_databases

ROOT = PACKAGE.parents[2]
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")])
RULES = sorted([ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")])
# Libraries whose files run what they hold, and calls that run text.
RUN_WHAT_THEY_READ = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy", "code"}
RUN_TEXT = {"eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
LOADS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def faults(tree):
    """What of a module could run what it reads, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in RUN_WHAT_THEY_READ)
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {why}" for why in call_faults(ast.unparse(node.func), node))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if ast.unparse(key or node) == "'trust_remote_code'" and ast.unparse(value) != "False":
                    yield f"{node.lineno}: trusts remote code"


def call_faults(name, node):
    keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if name in RUN_TEXT:
        yield f"calls {name}"
    if name in LOADS and keywords.get(LOADS[name][0]) != str(LOADS[name][1]):
        yield f"calls {name} without {LOADS[name][0]}={LOADS[name][1]}"
    if keywords.get("shell", "False") != "False":
        yield f"calls {name} with a shell"
    if keywords.get("trust_remote_code", "False") != "False":
        yield f"calls {name} with remote code"
    if name == "yaml.load" and keywords.get("Loader") != "_Strict":
        yield "calls yaml.load without the strict loader"
    if name.endswith(("read_pickle", "to_pickle")):
        yield f"calls {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_runs_what_it_reads(path):
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "os.system(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "settings = {'trust_remote_code': True}",
        "yaml.load(x, Loader=yaml.Loader)",
        "pd.read_pickle(x)",
    ],
)
def test_each_of_these_would_be_found(line):
    assert list(faults(ast.parse(line)))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_gives_anything_to_a_shell(path):
    """Values of the configuration reach jobs as Python values: rules have scripts, no command lines."""
    assert not re.search(r"^\s*(shell|run|wrapper|notebook|cwl|template_engine)\s*:", path.read_text(), re.MULTILINE)


def archive(*, compressed=False, size=10):
    """A tensor as torch saves it, perhaps deflated."""
    saved = io.BytesIO()
    torch.save(torch.zeros(size), saved)
    if not compressed:
        return saved.getvalue()
    deflated = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return deflated.getvalue()


class Evil:
    """What a pickle would run."""

    def __reduce__(self):
        return (Path("ran").touch, ())


def legacy():
    saved = io.BytesIO()
    torch.save(torch.zeros(3), saved, _use_new_zipfile_serialization=False)
    return saved.getvalue()


def evil():
    saved = io.BytesIO()
    torch.save(Evil(), saved)
    return saved.getvalue()


def test_a_tensor_of_another_program_is_read(tmp_path):
    assert lens_databases._stacked(tmp_path / "db", "vision", [archive()]).shape == (1, 10)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (archive(compressed=True, size=10_000_000), "is no archive of torch that holds its tensor as it is"),
        (legacy(), "is no archive of torch that holds its tensor as it is"),
        (b"PK\x03\x04 and no more", "is no archive of torch that holds its tensor as it is"),
        (evil(), r"cannot be read \(UnpicklingError\)"),
    ],
)
def test_archives_that_unpack_to_more_or_run_something(tmp_path, monkeypatch, blob, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"tensor 0 of layer 'vision' {message}"):
        lens_databases._stacked(tmp_path / "db", "vision", [blob])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("limit", "most", "message"),
    [
        ("MAX_ROWS", 9_999, "has 10,000 rows, more than the 9,999 allowed; split it"),
        ("MAX_UNPACKED", 1_000_000, r"has [\d,]+ bytes unpacked, more than the 1,000,000 allowed; split it"),
    ],
)
def test_a_table_that_unpacks_to_more_than_memory_holds(tmp_path, monkeypatch, limit, most, message):
    words = ["x" * 1000 + str(row) for row in range(10_000)]
    pd.DataFrame({"question": words}).to_parquet(tmp_path / "q.parquet", compression="zstd")
    assert (tmp_path / "q.parquet").stat().st_size < 1_000_000
    assert len(_rows.read_rows(tmp_path / "q.parquet", wanted=["question"])[1]) == 10_000
    monkeypatch.setattr(_rows, limit, most)
    with pytest.raises(DataError, match=f"q.parquet {message}"):
        _rows.read_rows(tmp_path / "q.parquet", wanted=["question"])


def test_every_test_that_the_page_names_is_there():
    names = set(re.findall(r"`(?:tests/\w+/)?(test_\w+\.py)`", (ROOT / "SECURITY.md").read_text()))
    assert len(names) > 8
    assert names <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}

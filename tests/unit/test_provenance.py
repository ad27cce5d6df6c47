"""The digest of a stage changes with what its code does, and with nothing else."""

import ast
import atexit
import os

import pytest

from pidflow import provenance
from pidflow.errors import ConfigError
from pidflow.provenance import PACKAGE, code_digest, modules_behind

STAGES = sorted(path.stem for path in (PACKAGE / "stages").glob("[!_]*.py"))


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small library in a folder of its own: a stage that imports one helper inside a function."""
    package = tmp_path / "pidflow"
    (package / "stages").mkdir(parents=True)
    (package / "helper.py").write_text('"""Doc."""\n\ndef double(x):\n    """Twice x."""\n    return 2 * x\n')
    (package / "other.py").write_text("ANSWER = 42\n")
    (package / "stages" / "one.py").write_text(
        "def run():\n    from pidflow import helper\n    return helper.double(1)\n"
    )
    monkeypatch.setattr(provenance, "PACKAGE", package)

    def digest(*plugins):
        for cached in (provenance._source, provenance._read, provenance.direct_imports):
            cached.cache_clear()
        return code_digest("one", *plugins)

    yield package, digest
    for cached in (provenance._source, provenance._read, provenance.direct_imports):
        cached.cache_clear()


def test_comments_docstrings_and_strangers_do_not_matter(library):
    package, digest = library
    before = digest()
    (package / "helper.py").write_text("def double(x):\n    # twice\n    return (2 * x)\n")
    (package / "other.py").write_text("ANSWER = 43\n")
    assert digest() == before


def test_code_behind_the_stage_matters(library):
    package, digest = library
    before = digest()
    (package / "helper.py").write_text("def double(x):\n    return 3 * x\n")
    assert digest() != before


def test_sources_that_were_read_before_are_not_parsed_again(library, monkeypatch, tmp_path):
    package, digest = library
    kept = tmp_path / "kept" / "sources.json"
    monkeypatch.setattr(provenance, "_known", {})
    before = digest()
    provenance._keep(kept, frozenset(), os.getpid())
    monkeypatch.setattr(provenance, "_known", {})
    monkeypatch.setattr(atexit, "register", lambda *given: None)
    provenance.remember(kept)
    parse = ast.parse
    with monkeypatch.context() as patched:
        patched.setattr(ast, "parse", None)
        assert digest() == before
    (package / "helper.py").write_text("def double(x):\n    return 3 * x\n")
    assert digest() != before
    assert ast.parse is parse
    for spoiled in ("", "[]", '{"a": 1}', '{"a": ["b", [["c"]]]}'):
        monkeypatch.setattr(provenance, "_known", {})
        kept.write_text(spoiled)
        provenance.remember(kept)
        (package / "helper.py").write_text('def double(x):\n    """Twice x."""\n    return 2 * x\n')
        assert digest() == before


def test_words_about_a_setting_do_not_matter_and_its_bounds_do(library):
    package, digest = library
    field = "from pydantic import Field\nclass Settings:\n    size: int = Field({bounds}description={words!r})\n"
    (package / "helper.py").write_text(field.format(bounds="le=3, ", words="How large."))
    before = digest()
    (package / "helper.py").write_text(field.format(bounds="le=3, ", words="How large it is."))
    assert digest() == before
    (package / "helper.py").write_text(field.format(bounds="le=4, ", words="How large it is."))
    assert digest() != before


def test_plug_ins_matter_to_the_jobs_that_name_them(library):
    """An added file changes no digest, an edited one those of its own jobs; what it imports belongs to it."""
    package, digest = library
    (package / "kinds").mkdir()
    (package / "kinds" / "cut.py").write_text("from pidflow import other\n")
    plain, named = digest(), digest("pidflow.kinds.cut")
    assert plain != named
    (package / "kinds" / "keep.py").write_text("KEPT = 1\n")
    assert (digest(), digest("pidflow.kinds.cut")) == (plain, named)
    assert digest("pidflow.kinds.cut", "pidflow.kinds.keep") == digest("pidflow.kinds.keep", "pidflow.kinds.cut")
    (package / "kinds" / "keep.py").write_text("KEPT = 2\n")
    assert (digest(), digest("pidflow.kinds.cut")) == (plain, named)
    (package / "other.py").write_text("ANSWER = 43\n")
    assert digest() == plain
    assert digest("pidflow.kinds.cut") != named


def test_a_plug_in_that_is_not_there(library):
    _, digest = library
    with pytest.raises(ConfigError, match=r"no module 'pidflow.kinds.snip'"):
        digest("pidflow.kinds.snip")


def test_unknown_stage():
    with pytest.raises(ConfigError, match="unknown stage 'pda', expected one of"):
        code_digest("pda")


@pytest.mark.parametrize("stage", STAGES)
def test_the_walk_finds_every_pidflow_import(stage):
    """Compare with a walk of another kind: plain text."""
    found = modules_behind(f"pidflow.stages.{stage}")
    for module in found:
        path = provenance._module_file(module)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                pytest.fail(f"{module} uses a relative import, which the walk does not follow")
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pidflow."):
                assert node.module in found or all(f"{node.module}.{alias.name}" in found for alias in node.names)


def test_plug_ins_that_a_job_names_are_part_of_its_digest(library):
    package, digest = library
    before = code_digest("one", "pidflow.other"), digest()
    (package / "other.py").write_text("ANSWER = 43\n")
    assert digest() == before[1]
    assert code_digest("one", "pidflow.other") != before[0]

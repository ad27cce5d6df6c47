"""Code in README and docs runs and prints what the page shows; pages import from ``pidflow`` alone."""

import ast
import doctest
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "config" / "README.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PARSER = doctest.DocTestParser()


def blocks(page):
    """Code blocks of a page, each with the line it begins in; those that are files, named on top, have another test."""
    text = page.read_text(encoding="utf-8")
    found = [match for match in BLOCK.finditer(text) if not match[1].startswith("# workflow/")]
    return [(match[1], text.count("\n", 0, match.start(1)) + 1) for match in found]


WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_prints_what_the_page_shows(page, monkeypatch, tmp_path):
    """One session a page: blocks go on where the last one stopped, in a folder that has what a clone has."""
    for path in ROOT.glob("[!.]*"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    np.set_printoptions(legacy="1.25")
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False)
    session, report = {}, []
    with pd.option_context("display.width", 200):
        for code, line in blocks(page):
            test = PARSER.get_doctest(code, session, page.name, str(page), line - 1)
            assert test.examples, f"{page.name} line {line}: python without >>> shows nothing; write it as a session"
            runner.run(test, out=report.append, clear_globs=False)
            session = test.globs
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_import_from_the_public_face(page):
    for code, line in blocks(page):
        for example in PARSER.get_examples(code):
            for node in ast.walk(ast.parse(example.source)):
                modules = [node.module] if isinstance(node, ast.ImportFrom) else []
                modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                inner = [name for name in modules if name.startswith("pidflow.")]
                assert not inner, f"{page.name} line {line}: imports {inner}, expected pidflow itself"


def test_every_page_is_read():
    assert len(WITH_CODE) >= 5

"""Pages and docstrings use the words of docs/glossary.md and none of those that were given up."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
MODULES = sorted((ROOT / "workflow" / "lib" / "pidflow").rglob("*.py"))
CODE = re.compile(r"^ *```.*?^ *```|`[^`]*`|\]\([^)]*\)|^ {4,}.*?$", flags=re.MULTILINE | re.DOTALL)
# What is said instead: CONTRIBUTING.md and the glossary.
GIVEN_UP = {
    r"routes?": "estimator, or two stages",
    r"courses?": "curve",
    r"rightly": "correctly",
    r"behind": "after, of",
    r"warts?": "fault",
    r"(?<!model )(?<!models )(?<!model\n)says": "states, names, shows; only models say things",
}


def given_up(text):
    return [(word, GIVEN_UP[word]) for word in GIVEN_UP if re.search(rf"\b{word}\b", text, flags=re.IGNORECASE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_in_the_words_of_the_glossary(page):
    found = given_up(CODE.sub(" ", page.read_text(encoding="utf-8")))
    assert not found, f"{page.name}: {found}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(MODULES[0].parent)))
def test_headings_of_docstrings_are_in_the_words_of_the_glossary(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            found = given_up(CODE.sub(" ", text.splitlines()[0]))
            assert not found, f"{path.name}: '{text.splitlines()[0]}': {found}"


def test_terms_of_the_glossary_are_in_use():
    """Its second column names what pages and code say."""
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|", (ROOT / "docs/glossary.md").read_text(), flags=re.MULTILINE)[2:]
    everything = "\n".join(page.read_text() for page in PAGES if page.name != "glossary.md").lower()
    for term in rows:
        assert any(word.lower() in everything for word in re.findall(r"[A-Za-z_-]{3,}", term)), term

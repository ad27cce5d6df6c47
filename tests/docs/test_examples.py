"""Every block of Python in the README and in the pages runs, prints what it says and needs ``pidflow`` alone."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Blocks that are files to be written, run by a test of their own.
FILES = ROOT / "docs" / "extending.md"
EXAMPLES = [page for page in PAGES if "```python" in page.read_text() and page != FILES]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_examples_print_what_they_say(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert done.failed == 0
    assert done.attempted > 1


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_no_block_is_left_out_and_all_import_from_pidflow_alone(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        assert block.startswith(">>> ")
    assert not re.findall(r"(?:from|import) pidflow\.", page.read_text())


def test_every_link_between_pages_leads_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "config" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 600

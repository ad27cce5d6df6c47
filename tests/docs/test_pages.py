"""The README is short, and links between pages lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "config" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))


def anchors(page):
    """What headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), f"links to {target}"
        assert not anchor or anchor in anchors(there), f"links to {target}#{anchor}"


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text().split()) <= 600


IMAGE = re.compile(r"!\[[^\]]*\]\((?:docs/)?(images/[^)]+)\)")


def test_every_picture_is_shown_beside_the_command_that_makes_it():
    shown = set()
    for page in PAGES:
        blocks = page.read_text().split("\n\n")
        for place, block in enumerate(blocks):
            for image in IMAGE.findall(block):
                shown.add(image)
                beside = "\n".join(blocks[max(0, place - 1) : place + 2])
                assert re.search(r"`(snakemake|make|python) ?[^`]*`", beside), f"{page.name}: what makes {image}?"
    assert shown == {f"images/{path.name}" for path in (ROOT / "docs" / "images").iterdir()}

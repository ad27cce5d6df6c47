"""The site is built without a warning, has every page in its navigation, and every public name in its reference."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pidflow

ROOT = Path(__file__).resolve().parents[2]
NAVIGATION = (ROOT / "mkdocs.yml").read_text().split("\nvalidation:")[0]


def test_every_page_is_in_the_navigation():
    assert set(re.findall(r"[\w-]+\.md", NAVIGATION)) >= {path.name for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="the extra 'docs' is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_reference_has_every_public_name(site):
    page = (site / "api" / "index.html").read_text()
    missing = [name for name in pidflow._HOME if f'id="pidflow.{name}"' not in page and f">{name}<" not in page]
    assert not missing
    assert "Delete-group jackknife standard error" in page, "docstrings are in it"


def test_pages_from_elsewhere_are_linked_where_they_are(site):
    home = (site / "index.html").read_text()
    assert 'href="atoms/"' in home
    assert 'href="configuration/"' in home
    assert 'src="images/overview.png"' in home
    assert (site / "images" / "overview.png").is_file()


def test_every_key_is_on_its_page(site):
    page = (site / "keys" / "index.html").read_text()
    assert "<code>run.models</code>" in page
    assert "models.&lt;id&gt;.family" in page or "<code>models.&lt;id&gt;.path</code>" in page


def test_nothing_that_is_no_page_is_published(site):
    assert not list(site.rglob("*.py"))

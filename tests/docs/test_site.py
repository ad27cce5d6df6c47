"""The site is built without a warning, has every page in its navigation, and every public name in its reference."""

import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests import browser

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
    assert not re.findall(r":(?:func|class|data|mod|meth|attr):", page), "marks of another documentation tool"


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


def test_an_edge_stays_in_one_line(site):
    assert '<code class="edge">image-&gt;question</code>' in (site / "interventions" / "index.html").read_text()


def test_nothing_that_is_no_page_is_published(site):
    assert not list(site.rglob("*.py"))


LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


class Loaded(HTMLParser):
    """What a page loads: scripts, style sheets, pictures, frames. Links that a reader may follow are no part of it."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "link" and attributes.get("rel") in ("canonical", "next", "prev", "edit"):
            return
        if (address := attributes.get(LOADS.get(tag))) is not None:
            self.found.append(address)
        if "mermaid" in (attributes.get("class") or "").split():
            self.found.append("https://a-library-that-draws-diagrams")


def test_no_page_loads_anything_from_elsewhere(site):
    elsewhere = re.compile(r"^(?:[a-z]+:)?//")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    loaded = {page: [each for each in Loaded(page.read_text()).found if elsewhere.match(each)] for page in pages}
    assert not {page.name: found for page, found in loaded.items() if found}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']*", styles)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


SEARCH = """
await until(() => document.querySelector("[data-md-component=search-query]"), "a search field");
const field = document.querySelector("[data-md-component=search-query]");
field.focus();
field.value = "transfer";
field.dispatchEvent(new Event("keyup"));
field.dispatchEvent(new Event("input"));
await until(() => document.querySelector(".md-search-result__link"), "a result of the search");
const loaded = performance.getEntriesByType("resource").map((each) => new URL(each.name).host);
say([document.querySelectorAll(".md-search-result__link").length, location.host, [...new Set(loaded)]]);
"""


@browser.needed
def test_the_first_page_asks_no_other_host(site, tmp_path):
    """The search is used as well: its index and its worker are loaded late."""
    page = browser.scripted(site / "index.html", SEARCH)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/{page.name}"
        (found, here, loaded), complaints = browser.visit(url, tmp_path / "chromium")
    finally:
        server.shutdown()
        server.server_close()
        page.unlink()
    assert not complaints
    assert found > 0
    assert loaded == [here]

"""Hooks of the site (mkdocs.yml): pages that lie elsewhere in the repository, and references made from the code."""

import posixpath
import re
import sys
from collections import defaultdict
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

import pidflow  # noqa: E402
from pidflow.config.configuration import keys  # noqa: E402

# Pages by where they lie in the repository; all others lie in docs/ under the name that they have on the site.
ELSEWHERE = {
    "README.md": "index.md",
    "config/README.md": "configuration.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")
# How docstrings point at code: the last part of a name says enough, `~` before it or not.
ROLE = re.compile(r":(?:func|class|data|mod|meth|attr):`~?(?:[\w]+\.)*([\w]+)`")
# Headings of the reference, by the folder that a name is at home in.
THEMES = {
    "pid": "Decompositions",
    "flows": "Making rows Gaussian",
    "validation": "Checks against a known truth",
    "files": "Files of a run",
    "analysis": "Files of a run",
    "models": "Models and their answers",
    "data": "Models and their answers",
    "interventions": "Cutting attention",
    "spectrum": "Predictions",
}


def on_files(files, config):
    """Add the pages from elsewhere and those made from the code."""
    made = {uri: (ROOT / path).read_text(encoding="utf-8") for path, uri in ELSEWHERE.items()}
    made |= {"api.md": _reference(), "keys.md": _keys()}
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links between places in the repository become links between pages."""
    back = {uri: path for path, uri in ELSEWHERE.items()}
    here = back.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(match):
        there = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[2]))
        uri = ELSEWHERE.get(there) or (there.removeprefix("docs/") if there.startswith("docs/") else None)
        if uri is None:
            return match[0]
        return match[1] + posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".") + match[3]

    return LINK.sub(moved, markdown)


def on_page_content(html, page, config, files):
    """An edge of attention is not broken at its arrow."""
    return re.sub(r"<code>([^<\s]+-&gt;[^<\s]+)</code>", r'<code class="edge">\1</code>', html)


def _reference() -> str:
    """One entry for each name that ``from pidflow import …`` offers."""
    by_theme = defaultdict(list)
    for name, module in pidflow._HOME.items():
        by_theme[THEMES[module.split(".")[1]]].append(name)
    lines = [
        "# Functions and classes",
        "",
        "Everything that `from pidflow import …` offers. Information is in bits.",
        "",
    ]
    for theme in dict.fromkeys(THEMES.values()):
        lines += [f"## {theme}", ""]
        for name in by_theme[theme]:
            lines += [f"::: pidflow.{name}", ""]
    return "\n".join(lines)


def _keys() -> str:
    """Every key of the configuration; those that all plug-ins of a kind share stand there once."""
    kinds, having, rows = defaultdict(set), defaultdict(list), {}
    for key, admits, means in keys():
        named = re.search(r"<(\w+) ([\w.-]+)>", key)
        plain = re.sub(r"<\w+ [\w.-]+>", "<id>", key)
        rows.setdefault((plain, admits, means), None)
        if named:
            kinds[named[1]].add(named[2])
            having[plain, admits, means].append((named[1], named[2]))
    lines = ["# Every key", "", "Made from the code; `python -m pidflow.config.configuration` prints the same."]
    lines += ["[Configuration](configuration.md) shows what they are for.", ""]
    section = None
    for plain, admits, means in rows:
        if plain.split(".")[0] != section:
            section = plain.split(".")[0]
            lines += ["", f"## {section}", "", "| key | meaning | values |", "|---|---|---|"]
        named = having[plain, admits, means]
        some = named and {name for _, name in named} != kinds[named[0][0]]
        only = f" ({named[0][0]} {', '.join(name for _, name in named)})" if some else ""
        cells = (f"`{plain}`", _cell(means) + only, _cell(admits))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


class PublicFace(griffe.Extension):
    """What the package looks up on first use is seen by the reference as well; names of code are plain code there."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)

    def on_package(self, *, pkg, **kwargs):
        for name, module in pidflow._HOME.items():
            target = f"{module}.{pidflow._THERE.get(name, name)}"
            pkg.set_member(name, griffe.Alias(name, target, parent=pkg))

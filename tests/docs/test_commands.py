"""Commands on the pages: each is planned, or what it names exists and takes what it is given."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "config/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:snakemake|make|python|pip|hf|sh|bash) [^`]+)`")
VERBS = ("snakemake", "make", "python", "pip", "git", "hf", "source", "sh", "bash", "kubectl", "sbatch", "apptainer")
# Planned by tests of their own, in a place that a page describes.
ELSEWHERE = {
    "docs/as-a-module.md": "test_module.py",
    "docs/extending.md": "test_extending.py",
    "docs/clusters.md": "test_profiles.py, test_slurm.py",
}
# A folder that stands for a checkpoint of the reader's own.
OWN_MODEL = re.compile(r"/models/[\w.-]+")


def commands(page):
    """Commands of a page in order, each with the files that the page has shown by then."""
    text, files, found, end = page.read_text(encoding="utf-8"), {}, [], 0
    for match in FENCE.finditer(text):
        found += [(each, dict(files)) for each in INLINE.findall(text[end : match.start()].replace("\n", " "))]
        end = match.end()
        if match[2] == "yaml" and (name := re.match(r"# ([\w-]+\.yaml)\n", match[3])):
            files[name[1]] = match[3]
        if match[2] in ("", "sh"):
            lines = (line.strip().removeprefix("$ ") for line in match[3].replace("\\\n", " ").splitlines())
            found += [(line, dict(files)) for line in lines if line.split(" ")[0] in VERBS or "=1 python " in line]
    found += [(each, dict(files)) for each in INLINE.findall(text[end:].replace("\n", " "))]
    return [(words(line), files) for line, files in found]


def words(line):
    """A command's words, without a comment and without variables of the environment."""
    found = shlex.split(line, comments=True)
    while "=" in found[0]:
        found = found[1:]
    return found


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_command_names_exists(page):
    for command, _ in commands(page):
        verb, *rest = command
        said = f"{name(page)}: {' '.join(command)}"
        if verb == "make":
            assert rest[0] in TARGETS, said
        elif verb == "python" and rest[0] == "-m":
            assert find_spec(rest[1]), said
        elif verb == "python" and rest[0] != "-c":
            script = ROOT / rest[0]
            assert script.is_file(), said
            assert all(word in script.read_text() for word in rest[1:] if word.startswith("--")), said
        elif verb == "pip" and "[" in said:
            assert re.search(r"\[([\w-]+)\]", said)[1] in EXTRAS, said
        elif verb == "snakemake":
            given = get_argument_parser().parse_args(rest)
            wrong = [str(path) for path in given.configfile or [] if path.suffix != ".yaml"]
            assert not wrong, f"{said}: --configfile takes {wrong} for files too; put targets first"


def plans():
    """Targets of all pages by the configuration they are asked for with: one plan for each."""
    found = defaultdict(set)
    for page in PAGES:
        for (verb, *rest), files in commands(page):
            if verb == "snakemake" and name(page) not in ELSEWHERE:
                given = get_argument_parser().parse_args(rest)
                if given.config or given.unlock or given.summary or given.report:
                    continue
                paths = [str(path) for path in given.configfile or []]
                texts = tuple(files.get(path, path if (ROOT / path).exists() else "seed: 0\n") for path in paths)
                found[texts] |= set(given.targets or ["all"])
    return sorted(found.items())


@pytest.mark.parametrize(("configuration", "targets"), plans(), ids=lambda value: None)
def test_commands_of_the_pages_are_planned(configuration, targets, tmp_path):
    arguments = []
    for number, text in enumerate(configuration):
        path = ROOT / text if "\n" not in text else tmp_path / f"{number}.yaml"
        if "\n" in text:
            path.write_text(OWN_MODEL.sub(str(ROOT / "workflow/resources/standin"), text))
        arguments += ["--configfile", str(path)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    done = subprocess.run(
        [*command, *sorted(targets), "--dry-run", "--quiet", "all", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{sorted(targets)} with {configuration}:\n{done.stdout}{done.stderr}"


def test_there_are_commands():
    assert sum(len(commands(page)) for page in PAGES) > 40
    assert len(plans()) > 5

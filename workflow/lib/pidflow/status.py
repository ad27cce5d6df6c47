"""A run on one screen: what is done, what would run and why, what runs now, and how long the rest may take.

``python -m pidflow.status``, with the arguments that the run is given: targets, ``--configfile``. Nothing is run or
changed. It asks Snakemake for its plan and its summary, and takes the time of jobs from the benchmark files of those
that were done in this folder.
"""

import csv
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pidflow.logs import spoken
from pidflow.running import living

_JOB = re.compile(r"^(?:local)?rule [\w.-]+:\n((?:    .*\n)+)", flags=re.MULTILINE)
_PLACE = re.compile(r"logs/(?P<rule>[^/]+)/(?P<about>.+)\.log$")
# What Snakemake says of a job that would run, and the words of a line; the first that fits.
_WHY = {
    "Forced execution": "forced",
    "Incomplete output": "was stopped half-way",
    "Missing output": "not made yet",
    "Params have changed": "settings, code or data changed",
    "Set of input files": "other inputs",
    "Code has changed": "script changed",
    "Software environment": "other environment",
    "Updated input": "inputs changed",
    "Input files updated": "after others",
}
_RECENT = 15 * 60.0  # seconds since a job that runs now wrote into its log
_FIGURES = "plot_*"
_NOW = 8  # jobs shown that run now
_FAILED = 8  # lines of Snakemake shown when it fails


@dataclass
class Rule:
    """Jobs of one rule.

    Attributes
    ----------
    done
        Jobs with nothing to do.
    waiting
        What jobs that would run are about, with the reason.
    """

    done: int = 0
    waiting: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """Print the screen; gives the exit status."""
    asked = [_snakemake(mode, arguments) for mode in ("--dry-run", "--summary")]
    said = [process.communicate() for process in asked]
    for process, (output, errors) in zip(asked, said, strict=True):
        if process.returncode:
            print("\n".join((output + errors).strip().splitlines()[-_FAILED:]), file=sys.stderr)
            return process.returncode
    rules = plan(said[0][0] + said[0][1], said[1][0])
    print("\n".join(screen(rules, Path("results"), folder=Path(".snakemake"))))
    return 0


def _snakemake(mode: str, arguments: Sequence[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", *arguments, mode, "--cores", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def plan(dry_run: str, summary: str) -> dict[str, Rule]:
    """Jobs by rule, from what Snakemake prints in a dry run and as its summary."""
    rules: dict[str, Rule] = defaultdict(Rule)
    for match in _JOB.finditer(dry_run):
        log = re.search(r"^    log: (\S+?),?(?: |$)", match[1], flags=re.MULTILINE)
        why = re.search(r"^    reason: (.*)$", match[1], flags=re.MULTILINE)
        place = _PLACE.search(log[1]) if log else None
        if place:  # a target has no log
            rules[place["rule"]].waiting[place["about"]] = _reason(why[1] if why else "")
    logs = {row["log-file(s)"] for row in csv.DictReader(summary.splitlines(), delimiter="\t") if row.get("status")}
    for place in filter(None, map(_PLACE.search, logs)):
        if place["about"] not in rules[place["rule"]].waiting:
            rules[place["rule"]].done += 1
    return dict(rules)


def _reason(said: str) -> str:
    return next((words for begin, words in _WHY.items() if begin.lower() in said.lower()), said[:40] or "unknown")


def screen(rules: dict[str, Rule], results: Path, *, folder: Path) -> list[str]:
    """The lines of the screen.

    Parameters
    ----------
    rules
        What :func:`plan` gave.
    results
        The folder of results, for benchmark files and logs.
    folder
        Snakemake's folder, where processes note themselves.
    """
    shown: dict[str, list[tuple[str, Rule]]] = defaultdict(list)
    for name, rule in rules.items():
        shown[_FIGURES if name.startswith("plot_") else name].append((name, rule))
    lines, left, unknown = [], 0.0, 0
    for title, members in shown.items():
        done = sum(rule.done for _, rule in members)
        waiting = [(name, about) for name, rule in members for about in rule.waiting]
        times = [seconds for name, about in waiting if (seconds := seconds_of(results, name, about)) is not None]
        left += sum(times)
        unknown += len(waiting) - len(times)
        why = Counter(reason for _, rule in members for reason in rule.waiting.values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in why.most_common(2))
        rest = spoken(sum(times)) if len(times) == len(waiting) else "unknown"
        line = f"{title:22}{done:>6}{len(waiting):>7}  {rest if waiting else '':>12}  {reasons}"
        lines.append(line.rstrip())
    done, to_do = sum(rule.done for rule in rules.values()), sum(len(rule.waiting) for rule in rules.values())
    head = f"{done} of {done + to_do} jobs done" + ("" if to_do else ", nothing to do")
    if to_do:
        head += f"; the others take {spoken(left)} one after another"
        head += f", and {unknown} of a kind that was never timed here" if unknown else ""
    now = _now(rules, results, folder)
    return [head, "", f"{'rule':22}{'done':>6}{'to do':>7}  {'time left':>12}  why", *sorted(lines), *now]


def seconds_of(results: Path, rule: str, about: str) -> float | None:
    """Seconds that a job takes: as it did before, or as others of its rule did; None if none ran here."""
    folder = results / "benchmarks" / rule
    own = folder / f"{about}.tsv"
    times = [_seconds(path) for path in ([own] if own.is_file() else folder.rglob("*.tsv"))]
    known = [each for each in times if each is not None]
    return statistics.fmean(known) if known else None


def _seconds(path: Path) -> float | None:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            times = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, ValueError, KeyError, TypeError):  # being written just now
        return None
    return sum(times) if times else None


def _now(rules: dict[str, Rule], results: Path, folder: Path) -> list[str]:
    """What is running, each job with the last line of its log."""
    processes = living(folder)
    if not processes:
        return ["", "no run is going on in this folder"]
    lines = ["", f"a run is going on in this folder (process {processes[0]}):"]
    for name, rule in rules.items():
        for about in rule.waiting:
            log = results / "logs" / name / f"{about}.log"
            if log.is_file() and time.time() - log.stat().st_mtime < _RECENT:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["begun"]
                lines.append(f"  {name} {about}: {said[0][:120]}")
    return lines[: 2 + _NOW]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Codes and clusters in a finished run: what estimator `mixed` finds beside `gaussian` and what stands in table `pid`.

    python tests/benchmarks/study_labels.py results [--tasks choose-attr query-attr] [--layers 0 5 8] [--model standin]
    python tests/benchmarks/study_labels.py results --warned

One line a task, layer and estimator: labels of vision, language and target, then the four atoms and the joint
information in bits (BROJA, intact model).

**warned**: every cell of the run decomposed again by the present code (BROJA; all conditions; flows as they were
trained, their correction left out): how many carry a warning, by estimator and reason, and the seconds that took.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter

import h5py
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.errors import NumericsError
from pidflow.names import ATOMS, NUMBERED, layer_name
from pidflow.pid.estimate import estimate_pid
from pidflow.pid.estimators._rows import estimates_by
from pidflow.pid.labels import labels_of
from pidflow.stages._scores import read_scores

SHOWN = (*ATOMS, "mi_joint")
ESTIMATORS = ("auto", "gaussian", "copula", "flow")
SETTINGS = {"permutations": 20, "jackknife": 20, "seed": 0, "definitions": ("broja",)}


def warned(results: Path, estimators: list[str]) -> None:
    """Count the cells that carry a warning."""
    for estimator in estimators:
        begun, cells, reasons, marked = perf_counter(), 0, Counter(), Counter()
        for path in sorted((results / "pca").glob("*/*/*.h5")):
            scores = read_scores(str(path))
            with h5py.File(results / "flows" / path.relative_to(results / "pca")) as flows:
                for layer in range(int(flows.attrs["layers"]) + 1):
                    latents = tuple(flows[f"{layer_name(layer)}/{part}"][()] for part in ("z1", "z2", "y"))
                    found, _ = estimates_by(
                        estimator,
                        scores=tuple(scores.of_layer(layer)),
                        latents=lambda rows=latents: rows,
                        groups=scores.images,
                        **SETTINGS,
                    )
                    words = found["broja"].warnings
                    cells += 1
                    marked[path.parent.name] += bool(words)
                    # Without numbers a word says the reason.
                    # A reason is a word's beginning, without what it counts.
                    reasons.update({" ".join(w for w in word.split()[:7] if not w[0].isdigit()) for word in words})
        seconds = perf_counter() - begun
        print(f"{estimator}: {sum(marked.values())} of {cells} cells carry a warning; {seconds:.0f} s", flush=True)
        for title, counts in (("task", marked), ("reason", reasons)):
            for name, count in counts.most_common():
                if count:
                    print(f"    {title} {name}: {count}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", default="standin")
    parser.add_argument("--tasks", nargs="+", default=["choose-attr", "query-attr", "logical-obj", "choose-rel"])
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 5, 8])
    parser.add_argument("--warned", action="store_true", help="count warnings instead")
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), help="of which warnings are counted")
    asked = parser.parse_args()
    if asked.warned:
        return warned(asked.results, asked.estimators)
    table = pd.read_parquet(asked.results / "tables" / "pid.parquet")
    table = table[(table["condition"] == "intact") & (table["definition"] == "broja") & (table["model"] == asked.model)]
    heads = " ".join(f"{head:>6}" for head in ("R", "U1", "U2", "S", "I12"))
    print(f"{'task':<12} {'layer':>5} {'vision, language, target':<40} {'estimator':<9} {heads}")
    for task in asked.tasks:
        scores = read_scores(str(asked.results / "pca" / asked.model / task / "intact.h5"))
        for layer in asked.layers:
            blocks = scores.of_layer(layer)
            labels = ", ".join(
                f"{each.count} {each.kind}" if each.count > 1 else "-" for each in map(labels_of, blocks)
            )
            for estimator in ("mixed", "gaussian"):
                try:
                    found = estimate_pid(*blocks, estimator=estimator, groups=scores.images, definitions="broja")[
                        "broja"
                    ]
                except NumericsError:
                    continue
                bits = " ".join(f"{getattr(found, NUMBERED[name]) + 0.0:6.2f}" for name in SHOWN)
                print(f"{task:<12} {layer:>5} {labels:<40} {estimator:<9} {bits}", flush=True)
            flow = table[(table["task"] == task) & (table["layer"] == layer) & (table["estimator"] == "flow")]
            stated = flow.set_index("atom")["bits"]
            if not len(stated):  # a run without this estimator
                continue
            bits = " ".join(f"{stated[name]:6.2f}" for name in SHOWN)
            print(f"{task:<12} {layer:>5} {labels:<40} {'flow':<9} {bits}", flush=True)


if __name__ == "__main__":
    main()

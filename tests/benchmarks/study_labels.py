"""Codes and clusters in a finished run: what estimator `mixed` finds beside `gaussian` and what stands in table `pid`.

    python tests/benchmarks/study_labels.py results [--tasks choose-attr query-attr] [--layers 0 5 8] [--model standin]

One line a task, layer and estimator: labels of vision, language and target, then the four atoms and the joint
information in bits (BROJA, intact model).
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.errors import NumericsError
from pidflow.names import ATOMS, NUMBERED
from pidflow.pid.estimate import estimate_pid
from pidflow.pid.labels import labels_of
from pidflow.stages._scores import read_scores

SHOWN = (*ATOMS, "mi_joint")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", default="standin")
    parser.add_argument("--tasks", nargs="+", default=["choose-attr", "query-attr", "logical-obj", "choose-rel"])
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 5, 8])
    asked = parser.parse_args()
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
            bits = " ".join(f"{stated[name]:6.2f}" for name in SHOWN)
            print(f"{task:<12} {layer:>5} {labels:<40} {'flow':<9} {bits}", flush=True)


if __name__ == "__main__":
    main()

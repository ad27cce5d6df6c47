"""Where the picture's information is in the model whose ways are known, from the tables of runs of planted.yaml.

    snakemake --cores 1 --configfile config/planted.yaml
    python tests/benchmarks/study_planted.py results

Other folders of results may follow, as last/results, where the last position is the language source. Estimator auto,
BROJA, against the intact model's target; standard errors in brackets.
"""

import argparse
from pathlib import Path

import pandas as pd

from pidflow.names import ATOMS, INTACT


def rows_of(results: Path, task: str, estimator: str) -> pd.DataFrame:
    """Atoms of a task by condition and layer, as text."""
    table = pd.read_parquet(results / "tables" / "pid.parquet")
    table = table[(table["task"] == task) & (table["estimator"] == estimator) & (table["definition"] == "broja")]
    table = table[(table["target"] == INTACT) | (table["condition"] == INTACT)]
    table["shown"] = [f"{bits:z.2f} ({se:.2f})" for bits, se in table[["bits", "se"]].itertuples(index=False)]
    placed = table.pivot(index=["condition", "layer"], columns="atom", values="shown")
    return placed[[*ATOMS, "mi_joint"]]


def main() -> None:
    """Print a table a task."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--tasks", nargs="+", default=["query-attr", "choose-rel", "choose-attr"])
    parser.add_argument("--estimator", default="auto")
    asked = parser.parse_args()
    for results in asked.results:
        for task in asked.tasks:
            print(f"\n{results}, {task}\n{rows_of(results, task, asked.estimator).to_string()}")


if __name__ == "__main__":
    main()

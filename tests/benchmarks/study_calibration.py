"""How far off the estimators of a finished run are: on planted cases of its size, and on the twin of every cell.

    python tests/benchmarks/study_calibration.py results                  # a folder made by `make demo`; two minutes
    python tests/benchmarks/study_calibration.py results --replicates 0   # the twins alone

Planted cases have the size of the first unit that the folder has (`docs/calibration.md`), twins are those of all
decompositions in it (`docs/flows.md`).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from pidflow.files.store import read_json, read_table
from pidflow.names import ATOMS, NUMBERED
from pidflow.pid.records import from_json
from pidflow.plugins.registry import available
from pidflow.stages import calibrate


def planted(unit, replicates):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scorecard.parquet"
        calibrate.run(
            pca=[str(unit)],
            scorecard=[str(path)],
            estimators=available("pid.estimators"),
            definitions=["broja"],
            permutations=20,
            jackknife_groups=20,
            folds=3,
            seed=0,
            threads=1,
            replicates=replicates,
        )
        card = read_table(path)
    first = card[card["replicate"] == 0]
    size = first.iloc[0]
    print(f"n = {size.n}, dimensions {size.d1}, {size.d2}, {size.m}; the first of {replicates} draws, in bits:")
    for (case, atom), rows in first.groupby(["case", "atom"], sort=False):
        found = (
            f"{r.estimator} {r.bits:5.2f} ± {r.se:.2f} of {r.truth:4.2f}{'' if r.passed else ' X'}"
            for r in rows.itertuples()
        )
        print(f"{case:12}{atom:20}", "   ".join(found))
    atoms = card[card["atom"].isin(ATOMS)]
    print("\natoms passed, of all draws, and flags raised:")
    flags = card[card["atom"] == "missed_information"].assign(raised=lambda rows: rows["note"].str.startswith("flag"))
    for (case, estimator), rows in atoms.groupby(["case", "estimator"], sort=False):
        raised = flags[(flags["case"] == case) & (flags["estimator"] == estimator)]["raised"].sum()
        print(f"{case:12}{estimator:8}{rows['passed'].sum():3} of {len(rows)}, flagged in {raised} of {replicates}")
    bent = atoms[(atoms["case"] == "bent") & (atoms["estimator"] == "flow") & (atoms["atom"] == "synergy")]
    print(f"bent by flow: mean synergy {bent['bits'].mean():.2f} of {bent['truth'].mean():.2f}")


def twins(folder):
    rows = []
    for path in sorted(folder.glob("pid/*/*/*/layer-*.json")):
        for each in from_json(read_json(path), where=str(path)):
            if each.definition == "broja":
                for word, name in NUMBERED.items():
                    place = {"task": each.task, "estimator": each.estimator, "quantity": word}
                    numbers = {"truth": each.twin.truth[name], "bits": each.twin.bits[name]}
                    rows.append(place | numbers | {"passed": each.twin.passed(name)})
    table = pd.DataFrame(rows).assign(failed=lambda all_rows: ~all_rows["passed"].astype(bool))
    print("\nplanted twins: share of cells that fail")
    print(table.pivot_table(index="quantity", columns="estimator", values="failed", sort=False).round(3).to_string())
    of_atoms = table[table["quantity"].isin(ATOMS)]
    print("all atoms:", of_atoms.groupby("estimator")["failed"].mean().round(3).to_dict())
    joint = table[(table["quantity"] == "mi_joint") & (table["estimator"] == "flow")]
    joint = joint.assign(off=joint["bits"] / joint["truth"] - 1)
    print("\njoint information by flow, estimate over truth minus 1: quartiles")
    for task, off in [("all", joint["off"]), *((task, part["off"]) for task, part in joint.groupby("task"))]:
        print(f"{task:14}", *(f"{value:+.3f}" for value in np.quantile(off, [0.25, 0.5, 0.75])))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--replicates", type=int, default=4)
    settings = parser.parse_args()
    if settings.replicates:
        planted(min(settings.results.glob("pca/*/*/*.h5")), settings.replicates)
    twins(settings.results)


if __name__ == "__main__":
    main()

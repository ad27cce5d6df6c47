"""What a decomposition adds to simpler numbers, from the tables of a run, such as that of config/baselines.yaml.

    snakemake --cores 1 --configfile config/zoo.yaml config/baselines.yaml
    python tests/benchmarks/study_baselines.py results

Of each cut and scope (over all units, and within tasks) a line a predictor: Spearman's correlation with the change,
the share of variance it explains in models it was not fitted to, and what it adds to the baseline that correlates most;
95 % intervals over models in brackets.
"""

import argparse
from pathlib import Path

import pandas as pd

NUMBERS = {
    "correlation": ("correlation", "low", "high"),
    "beside it": ("partial", "partial_low", "partial_high"),
    "gain": ("gain", "gain_low", "gain_high"),
}


def with_interval(rows: pd.DataFrame, value: str, low: str, high: str) -> list[str]:
    """The numbers with their intervals, a dash where there is none."""
    return [
        "-" if pd.isna(each) else f"{each:z.2f}" if pd.isna(one) else f"{each:z.2f} [{one:z.2f}, {two:z.2f}]"
        for each, one, two in rows[[value, low, high]].itertuples(index=False)
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--effect", default="accuracy", choices=["accuracy", "answer_probability"])
    asked = parser.parse_args()
    found = pd.read_parquet(asked.results / "tables" / "predictions.parquet")
    found = found[found["effect"] == asked.effect]
    for (condition, scope), rows in found.groupby(["condition", "scope"], sort=False):
        best = rows.loc[rows["predictor"] == "synergy", "given"].item()
        print(
            f"\n{condition}, change of {asked.effect}, {scope}: {rows['units'].max()} units of {rows['models'].max()} "
            f"models; best baseline {best}"
        )
        shown = {name: with_interval(rows, *columns) for name, columns in NUMBERS.items()}
        shown["explained"] = rows["explained"].map("{:z.2f}".format)
        shown = pd.DataFrame({"predictor": rows["predictor"], **shown})
        print(shown[["predictor", "correlation", "explained", "beside it", "gain"]].to_string(index=False))
    judged = found.dropna(subset="low")
    counted = {"correlation": ("low", "high"), "beside the best baseline": ("partial_low", "partial_high")}
    for name, (low, high) in counted.items():
        known = judged.dropna(subset=low)
        clear = int(((known[low] > 0) | (known[high] < 0)).sum())
        print(f"\n{name}: {clear} of {len(known)} intervals exclude zero, {len(known) / 20:.1f} would by chance")


if __name__ == "__main__":
    main()

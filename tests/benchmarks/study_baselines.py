"""What a decomposition adds to simpler numbers, from the tables of a run, such as that of config/baselines.yaml.

    snakemake --cores 1 --configfile config/zoo.yaml config/baselines.yaml
    python tests/benchmarks/study_baselines.py results

First what models lose under each cut. Then, over all units and within tasks, two tables of all predictors: Spearman's
correlation with the change and the share of it (R2) explained in models that were left out; and what is left beside the
baseline that correlates most with it, a partial correlation and the share added. 95 % intervals over models.
"""

import argparse
from pathlib import Path

import pandas as pd

from pidflow.analysis.predicted import prediction_table
from pidflow.names import INTACT

PAIRS = {
    "alone": (("correlation", "low", "high"), "explained", "R2"),
    "beside the best baseline": (("partial", "partial_low", "partial_high"), "gain", "added"),
}


def with_interval(rows: pd.DataFrame, value: str, low: str, high: str) -> list[str]:
    """The numbers with their intervals, a dash where there is none."""
    return [
        "-" if pd.isna(each) else f"{each:z.2f} [{one:z.2f}, {two:z.2f}]"
        for each, one, two in rows[[value, low, high]].itertuples(index=False)
    ]


def beside(found: pd.DataFrame, interval: tuple[str, str, str], share: str, name: str) -> str:
    """One table: predictors by cut."""
    columns = {}
    for condition, rows in found.groupby("condition", sort=False):
        rows = rows.set_index("predictor")
        columns[condition] = pd.Series(with_interval(rows, *interval), rows.index)
        columns[f"{name}, {condition}"] = rows[share].map(lambda each: "-" if pd.isna(each) else f"{each:z.2f}")
    return pd.DataFrame(columns).to_string()


def predictions(tables: Path, without: list[str]) -> pd.DataFrame:
    """The table of the run, or the same made without some of its models, of accuracy alone."""
    if not without:
        return pd.read_parquet(tables / "predictions.parquet")
    baselines, answers = (pd.read_parquet(tables / f"{name}.parquet") for name in ("baselines", "answers"))
    right = answers.pivot(index=["model", "task"], columns="condition", values="accuracy").drop(index=without)
    changes = right.drop(columns=[INTACT, "no-image", "no-question"]).sub(right[INTACT], axis=0).stack()
    effects = {unit: {"accuracy": value, "answer_probability": 0.0} for unit, value in changes.items()}
    return prediction_table(baselines[~baselines["model"].isin(without)], effects)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--effect", default="accuracy", choices=["accuracy", "answer_probability"])
    parser.add_argument("--without", nargs="+", default=[], metavar="MODEL", help="leave models out; accuracy alone")
    asked = parser.parse_args()
    answers = pd.read_parquet(asked.results / "tables" / "answers.parquet")
    print(answers.pivot(index=["task", "model"], columns="condition", values="accuracy").round(2).to_string())
    found = predictions(asked.results / "tables", asked.without)
    found = found[found["effect"] == asked.effect]
    for scope, rows in found.groupby("scope", sort=False):
        print(f"\nchange of {asked.effect}, {scope}: {rows['units'].max()} units of {rows['models'].max()} models")
        best = rows[rows["predictor"] == "synergy"].set_index("condition")["given"]
        for name, columns in PAIRS.items():
            named = f" ({', '.join(best)})" if columns[1] == "gain" else ""
            print(f"\n{name}{named}\n{beside(rows, *columns)}")
    for name, (low, high) in {"alone": ("low", "high"), "beside": ("partial_low", "partial_high")}.items():
        known = found.dropna(subset=low)
        clear = int(((known[low] > 0) | (known[high] < 0)).sum())
        print(f"\n{name}: {clear} of {len(known)} intervals exclude zero, {len(known) / 20:.1f} would by chance")


if __name__ == "__main__":
    main()

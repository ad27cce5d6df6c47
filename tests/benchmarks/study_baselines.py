"""What a decomposition adds: baselines beside the atoms of a finished run, and how far each predicts what cuts change.

    python tests/benchmarks/study_baselines.py results [more/results …]

Two tables for each condition of the runs, as ``collect_pid`` writes them (``baselines``, ``predictions``), computed
here from ``tables/pid.parquet``, ``answers`` and ``pca`` of one run or of several: means over the layers after the
input, by task; then correlations over tasks and models.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.analysis import baselines, tables
from pidflow.files.store import reading_h5, take
from pidflow.names import INTACT, QUANTITIES
from pidflow.stages._scores import read_scores

PLACE = ["model", "task", "condition", "layer", "estimator", "definition"]


def answers_of(results: Path) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Answers by unit."""
    return {
        (*path.parts[-3:-1], path.stem): pd.read_parquet(path)
        for path in sorted((results / "answers").glob("*/*/*.parquet"))
    }


def beside(results: Path, estimator: str, definition: str) -> pd.DataFrame:
    """Atoms, probes and accuracies lost of the intact units, a row a layer."""
    answers = answers_of(results)
    pid = pd.read_parquet(results / "tables" / "pid.parquet")
    pid = pid[(pid["estimator"] == estimator) & (pid["definition"] == definition) & (pid["condition"] == INTACT)]
    table = pid.pivot_table(index=PLACE, columns="atom", values="bits").reset_index()
    for model, task in table[["model", "task"]].drop_duplicates().itertuples(index=False):
        path = str(results / "pca" / model / task / f"{INTACT}.h5")
        scores = read_scores(path)
        with reading_h5(path, kind="pca") as file:
            items = take(file, "item_id")
        said = answers[model, task, INTACT].set_index("item_id")["predicted"].reindex(items).to_numpy()
        found = baselines.probed(scores.vision, scores.language, said, folds=scores.folds, images=scores.images)
        here = (table["model"] == model) & (table["task"] == task)
        for source in baselines.SOURCES:
            values = table.loc[here, "layer"].map(lambda layer, s=source, f=found: f[layer][s].value)
            table.loc[here, f"probe_{source}"] = values
        table.loc[here, "frequent"] = np.unique(said.astype(str), return_counts=True)[1].max() / len(said)
        for name, condition in zip(baselines.LOST, ("no-image", "no-question"), strict=True):
            without = answers.get((model, task, condition))
            lost = np.nan if without is None else tables.accuracy_lost(answers[model, task, INTACT], without).value
            table.loc[here, name] = lost
    return table


def changes(results: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    """Change of accuracy and of the right answer's probability by unit, those of the blind conditions left aside."""
    answers, out = answers_of(results), {}
    for (model, task, condition), frame in answers.items():
        if condition in (INTACT, "no-image", "no-question"):
            continue
        both = answers[model, task, INTACT].merge(frame, on="item_id", suffixes=("", "_cut"))
        out[model, task, condition] = {
            "accuracy": float((both["correct_cut"].astype(float) - both["correct"]).mean()),
            "answer_probability": float((both["answer_probability_cut"] - both["answer_probability"]).mean()),
        }
    return out


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--estimator", default="auto")
    parser.add_argument("--definition", default="broja")
    asked = parser.parse_args()
    table = pd.concat([beside(each, asked.estimator, asked.definition) for each in asked.results], ignore_index=True)
    effects = {unit: values for each in asked.results for unit, values in changes(each).items()}
    numbers = [*QUANTITIES, *(f"probe_{source}" for source in baselines.SOURCES), "frequent", *baselines.LOST]
    means = table[table["layer"] > 0].groupby(["model", "task"])[numbers].mean()
    print(means.round(2).rename(columns=lambda name: name.replace("unique", "u")).to_string())
    found = baselines.prediction_table(table, effects)
    for (condition, effect), rows in found.groupby(["condition", "effect"], sort=False):
        print(f"\n{condition}: change of {effect}, {rows['units'].max()} tasks, {rows['models'].max()} model(s)")
        shown = rows.dropna(subset="correlation").sort_values("explained", ascending=False)
        print(shown[["predictor", "correlation", "low", "high", "explained"]].round(2).to_string(index=False))


if __name__ == "__main__":
    main()

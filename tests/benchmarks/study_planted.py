r"""Where the picture's information is in the model whose ways are known, layer by layer, in a run of planted.yaml.

    snakemake --cores 2 --configfile config/planted.yaml activations \
        results/activations/standin-routed/query-attr/stage-one.h5
    python tests/benchmarks/study_planted.py results query-attr

Every row decomposes against the intact model's target. Estimator gaussian, BROJA; standard errors in brackets.
"""

import argparse
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow import estimate_pid

MODEL = "standin-routed"
# Condition, and the block read as the language source.
ROWS = (("intact", "text"), ("stage-one", "text"), ("intact", "last"))


def components(states: np.ndarray, most: int, variance: float = 0.95) -> np.ndarray:
    """Leading principal components ``(n, k)``; no column where all rows are the same."""
    centred = states.astype(float) - states.mean(0, dtype=float)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    if size[0] < 1e-6 * np.sqrt(len(states)):
        return centred[:, :0]
    share = np.cumsum(size**2) / np.sum(size**2)
    return (left * size)[:, : min(most, 1 + int(np.searchsorted(share, variance)))]


def main() -> None:
    """Print one line a condition, language source and layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("task")
    given = parser.parse_args()
    unit = Path(MODEL, given.task)
    right = pd.read_parquet(given.results / "answers" / unit / "intact.parquet")["correct"].to_numpy(bool)
    with h5py.File(given.results / "activations" / unit / "intact.h5") as file:
        target = components(file["target"][:][right], 4)
    print("condition  language  layer  redundancy  vision-unique  language-unique  synergy  joint")
    for condition, language in ROWS:
        with h5py.File(given.results / "activations" / unit / f"{condition}.h5") as file:
            for layer in sorted(name for name in file if name.startswith("layer-")):
                vision = components(file[layer]["vision"][:][right], 10)
                text = components(file[layer][language][:][right], 10)
                print(f"{condition:9}  {language:8}  {layer[-2:]:5}  {line(vision, text, target)}")


def line(vision: np.ndarray, text: np.ndarray, target: np.ndarray) -> str:
    """The atoms in bits; a source that never varies tells nothing."""
    if not text.shape[1]:
        return "the language source never varies: 0 bits"
    found = estimate_pid(vision, text, target, estimator="gaussian")["broja"]
    atoms = [f"{getattr(found, name):.2f} ({found.se[name]:.2f})" for name in ("redundancy", "unique_1", "unique_2")]
    return "  ".join([*atoms, f"{found.synergy:.2f} ({found.se['synergy']:.2f})", f"{found.mi_12:.2f}"])


if __name__ == "__main__":
    main()

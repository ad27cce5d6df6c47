"""Peak memory and rows a second of each step as questions grow, every measurement in a process of its own.

Items are drawn scenes. The extraction runs a random LLaVA of 2 blocks of width 32 on them. Principal components read a
made-up file of states of 3 layers and 4 blocks of tokens, width 64; the flow is trained for 200 steps on what they
give; the decomposition is the Gaussian one with its errors, from arrays. Seconds are processor seconds of one thread.

    python tests/benchmarks/bench_scale.py                        # n = 1,000 and 10,000: three minutes on one idle core
    python tests/benchmarks/bench_scale.py --n 100000             # twenty minutes more
    python tests/benchmarks/bench_scale.py --n 100000 --steps components flow decomposition
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH, LAYERS = 64, 3
DRAWN = 10_000  # scenes that are drawn at most for the extraction; of more questions each is asked several times
MEASURED = "measured:"


def write_items(folder, n):
    from pidflow.stages import prepare_items

    settings = {"dataset": {"reader": "scenes", "language_prior": 0.25}, "select": "choose-attr", "items": n}
    out, dropped = str(folder / "items.parquet"), str(folder / "items.dropped.csv")
    return lambda: prepare_items.run(output=out, dropped=dropped, task="t", settings=settings, folds=3, seed=0)


def extract(folder, n):
    from pidflow.files import store
    from pidflow.models.standin import architecture
    from pidflow.stages import _extraction

    write_items(folder, min(n, DRAWN))()
    few = store.read_table(folder / "items.parquet")
    table = few.iloc[np.arange(n) % len(few)].assign(item_id=[f"q{row}" for row in range(n)])
    store.write_table(folder / "items.parquet", table)
    del few, table
    architecture.build_model(seed=0, width=32, depth=2).save_pretrained(folder / "model")
    architecture.build_processor().save_pretrained(folder / "model")
    model = {"family": "llava", "path": str(folder / "model"), "batch_size": 64, "prompt": architecture.PROMPT}
    results = {"intact": {"answers": str(folder / "a.parquet"), "activations": str(folder / "a.h5")}}
    same = {"model": model, "model_id": "m", "task": "t", "progress": False, "made_from": 0}
    return lambda: _extraction.run(items=str(folder / "items.parquet"), conditions=results, **same)


def states(folder, n):
    """A file of states and the answers beside it, written some rows at a time."""
    import pandas as pd

    from pidflow.files import store
    from pidflow.stages._states import StatesFile, Stored, begin

    stored = Stored(tuple(range(LAYERS)), store.BLOCKS, WIDTH, WIDTH, "float16")
    table = pd.DataFrame({"item_id": [f"q{i}" for i in range(n)], "image_id": [f"i{i}" for i in range(n)]})
    table["fold"] = np.arange(n) % 3
    identity = store.Identity("m", "t", "intact")
    begin(folder / "a.h5", table, stored, identity=identity, attrs=_about(stored))
    file, rng = StatesFile(folder / "a.h5", stored), np.random.default_rng(0)
    for first in range(0, n, 1000):
        rows = min(1000, n - first)
        shared = rng.standard_normal((rows, WIDTH)) * np.geomspace(3, 0.3, WIDTH)
        found = shared + rng.standard_normal((LAYERS, len(store.BLOCKS), rows, WIDTH))
        file.write(first, found.astype("float16"), shared.astype("float16"))
    file.close()
    store.seal_h5(folder / "a.h5")
    store.write_table(folder / "a.parquet", table.assign(correct=True), identity=identity)


def _about(stored):
    about = {"model": "m", "task": "t", "condition": "intact", "layers": LAYERS - 1, "width": WIDTH}
    return about | {"stored_layers": stored.layers, "stored_blocks": stored.blocks}


def components(folder, n):
    from pidflow.stages import fit_pca

    states(folder, n)
    given = {"activations": str(folder / "a.h5"), "answers": str(folder / "a.parquet"), "language": "text"}
    how = {"correct_only": False, "variance": 0.95, "max_components": 10, "target_components": 4, "seed": 0}
    return lambda: fit_pca.run(output=str(folder / "pca.h5"), **given, **how)


def flow(folder, n):
    from pidflow.stages import train_flow

    components(folder, n)()
    given = {"pca": str(folder / "pca.h5"), "settings": {"max_steps": 200}, "seed": 0, "threads": 1}
    return lambda: train_flow.run(output=str(folder / "f.h5"), weights=str(folder / "f.safetensors"), **given)


def decomposition(folder, n):
    from pidflow import estimate_pid

    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((2, n, 10))
    y = x1[:, :4] + x2[:, :4] + rng.standard_normal((n, 4))
    return lambda: estimate_pid(x1, x2, y, estimator="gaussian")


STEPS = {
    "items": write_items,
    "extraction": extract,
    "components": components,
    "flow": flow,
    "decomposition": decomposition,
}


def measure(step, n):
    """Processor seconds of a step, its inputs not counted, and what the process held at most, imports included."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        work = STEPS[step](Path(folder), n)
        start = time.process_time()
        work()
        took = time.process_time() - start
    print(MEASURED, json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    given = parser.parse_args()
    if given.alone:
        measure(given.steps[0], given.n[0])
        return
    print("| step | n | rows a second | peak memory, MB |\n|---|---|---|---|")
    for step in given.steps:
        for n in given.n:
            command = [sys.executable, __file__, "--alone", "--steps", step, "--n", str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [line for line in done.stdout.splitlines() if line.startswith(MEASURED)]
            if not lines:
                sys.exit(f"{step}, n = {n}: {done.stderr[-2000:]}")
            took, peak = json.loads(lines[0].removeprefix(MEASURED))
            print(f"| {step} | {n:,} | {n / took:,.0f} | {peak / 1e6:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""What each rule of a finished run took: jobs, seconds on the clock and of the processor, from its benchmark files.

python tests/benchmarks/study_rules.py results

Snakemake looks at a job's processor time every few seconds, so that of short jobs is too low; their clock is not.
"""

import argparse
from pathlib import Path

import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    root = parser.parse_args().results / "benchmarks"
    files = sorted(root.rglob("*.tsv"))
    if not files:
        raise SystemExit(f"{root}: holds no benchmark files; expected the results folder of a run")
    jobs = pd.concat([pd.read_csv(file, sep="\t").assign(rule=file.relative_to(root).parts[0]) for file in files])
    jobs["cpu_time"] = pd.to_numeric(jobs["cpu_time"], errors="coerce")
    rules = jobs.groupby("rule").agg(jobs=("s", "size"), clock=("s", "sum"), processor=("cpu_time", "sum"))
    rules.loc["all"] = rules.sum()
    print(rules.sort_values("clock", ascending=False).astype({"jobs": int}).to_string(float_format="{:.1f}".format))


if __name__ == "__main__":
    main()

"""What each rule's stage spends on imports: processor seconds of a fresh interpreter, median of several.

python tests/benchmarks/study_imports.py
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "lib"
CLOCK = "import resource, sys; sys.path.insert(0, {path!r}); {line}; u = resource.getrusage(resource.RUSAGE_SELF);"
CLOCK += " print(u.ru_utime + u.ru_stime)"


def seconds(line: str, runs: int) -> float:
    """Median processor seconds of an interpreter that runs one line."""
    code = CLOCK.format(path=str(LIBRARY), line=line)
    times = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(f"{'python alone':22}{seconds('pass', runs):6.2f} s")
    print(f"{'import pidflow':22}{seconds('import pidflow', runs):6.2f} s")
    for path in sorted((LIBRARY / "pidflow" / "stages").glob("[!_]*.py")):
        print(f"{path.stem:22}{seconds(f'import pidflow.stages.{path.stem}', runs):6.2f} s")
    print(f"{'_extraction':22}{seconds('import pidflow.stages._extraction', runs):6.2f} s")


if __name__ == "__main__":
    main()

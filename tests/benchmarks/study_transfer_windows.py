"""How often transfer windows are found in noise, and how often their intervals hold the truth.

    python tests/benchmarks/study_transfer_windows.py

Made-up curves over 12 windows that share noise with their neighbours, one to three questions an image; two minutes.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.analysis.edge_changes import ALL, EdgeChanges, resample
from pidflow.analysis.transfer_windows import YES, locate
from pidflow.interventions.windows import windows

DEPTH, PLATEAU, HEIGHT = 12, (3, 6), -0.4


def made_up(rng, level, *, images, noise, control):
    counts = rng.integers(1, 4, images).astype(float)

    def scattered(around):
        loose = rng.standard_normal((images, DEPTH + 2))
        smooth = (loose[:, :-2] + loose[:, 1:-1] + loose[:, 2:]) / np.sqrt(3)
        return counts[:, None] * (around + noise * smooth)

    names = tuple(f"im{i}" for i in range(images))
    beside = scattered(np.zeros(DEPTH)) if control else None
    return EdgeChanges("image->last", ALL, tuple(windows(1, depth=DEPTH)), names, counts, scattered(level), beside)


def located(seed, level, *, least, **settings):
    rng = np.random.default_rng(seed)
    return locate(resample(made_up(rng, level, **settings), seed=seed, resamples=500), least=least)


def main():
    print("curves of noise alone: share of 1,000 in which an effect is found (promised: 5 % at most)")
    for images in (8, 20, 40, 100, 300):
        rates = []
        for control in (False, True):
            found = [
                located(seed, np.zeros(DEPTH), least=1e-9, images=images, noise=0.3, control=control)
                for seed in range(1000)
            ]
            rates.append(np.mean([each.present == YES for each in found]))
        print(f"  {images:3d} images: {rates[0]:.1%} without a control, {rates[1]:.1%} with one")
    print(f"a plateau of {HEIGHT:+.0%} over centres {PLATEAU[0]} to {PLATEAU[1]}, 100 images, 300 curves")
    level = np.zeros(DEPTH)
    level[PLATEAU[0] : PLATEAU[1] + 1] = HEIGHT
    for noise in (0.3, 0.7, 1.0, 1.5, 2.5):
        found = [located(seed, level, least=0.05, images=100, noise=noise, control=False) for seed in range(300)]
        found = [each for each in found if each.present == YES]
        onset = np.mean([each.onset_low <= PLATEAU[0] <= each.onset_high for each in found])
        end = np.mean([each.end_low <= PLATEAU[1] <= each.end_high for each in found])
        width = np.mean([each.onset_high - each.onset_low for each in found])
        print(
            f"  scatter {noise}: found in {len(found) / 300:.0%}; interval holds the onset in {onset:.1%}, the end in "
            f"{end:.1%}; it is {width:.1f} blocks wide"
        )


if __name__ == "__main__":
    main()

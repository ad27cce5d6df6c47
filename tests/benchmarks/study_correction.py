"""How far off corrected estimates are: on second-generation twins of a run, and on planted sets that are no twins.

    python tests/benchmarks/study_correction.py results           # a folder made by `make demo`; 25 minutes
    python tests/benchmarks/study_correction.py results --tried   # every way to correct that was tried; an hour
    python tests/benchmarks/study_correction.py --rows 900 2000   # planted sets alone, of so many rows

A twin of each cell of the run has its size, spectrum and warps, and a known truth. It is taken as the real rows: flows
are trained on it, it is decomposed, a twin of it is drawn, and the estimate is corrected. Planted sets are Gaussian
systems of 10 + 10 + 4 columns, their blocks warped by maps that are not those of the flow. Errors are estimate minus
truth in bits, by ``broja``; "worst" is the largest error of the four atoms of a cell, and coverage the share of cells
whose 95 % interval, as reported, holds the truth.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

import torch

from pidflow.flows.gaussianize import Gaussianized, gaussianize_layers
from pidflow.groups import grouped_folds
from pidflow.names import layer_name
from pidflow.pid.correction import corrected
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import gaussian_pid
from pidflow.pid.planted_twin import Twin, planted_twin, strength_of
from pidflow.pid.results import QUANTITIES, PIDEstimate
from pidflow.stats import TOLERANCE

SEED = 1  # not that of the run, whose flows the first generation went through
PLANTED = (10, 10, 4)
ATOMS = slice(0, 4)
JOINT = QUANTITIES.index("mi_12")


@dataclass
class Cell:
    """Rows with a known decomposition, and what was found in them.

    Attributes
    ----------
    name, blocks, truth
        What it is; the three blocks; the seven quantities.
    estimate
        Uncorrected.
    ways
        By name, the seven quantities as corrected in that way, and for the way that is used its interval.
    """

    name: str
    blocks: list[np.ndarray]
    truth: np.ndarray
    estimate: PIDEstimate | None = None
    ways: dict[str, np.ndarray] = field(default_factory=dict)
    intervals: dict[str, np.ndarray] = field(default_factory=dict)


def seven(found: object) -> np.ndarray:
    return np.array([float(getattr(found, name)) for name in QUANTITIES])


def truth_of(covariance: np.ndarray, blocks: list[np.ndarray]) -> np.ndarray:
    return seven(gaussian_pid(covariance, [block.shape[1] for block in blocks], definition="broja"))


def cells_of(path: Path, results: Path) -> tuple[list[Cell], np.ndarray, np.ndarray]:
    """Twins of one unit of a run, with the folds and images of its rows; drawn as strong as what was learned."""
    from safetensors.torch import load_file

    weights = load_file(str(results / "flows" / path.relative_to(results / "flows")).replace(".h5", ".safetensors"))
    with h5py.File(path) as file:
        images, folds = file["image_id"][()], file["fold"][()]
        cells = []
        for layer in range(int(file.attrs["layers"]) + 1):
            name = layer_name(layer)
            latents = [file[f"{name}/{part}"][()] for part in ("z1", "z2", "y")]
            own = {key.removeprefix(f"{name}/"): value for key, value in weights.items() if key.startswith(f"{name}/")}
            loss = file[f"{name}/diagnostics/held_out_loss"][()]
            twin = planted_twin(*latents, own, held_out_loss=loss, seed=SEED + 10, strength=1.0)
            blocks = [twin.x1, twin.x2, twin.y]
            cells.append(Cell(f"{path.parent.name} {path.stem} {name}", blocks, truth_of(twin.covariance, blocks)))
    return cells, folds, images


Warp = Callable[[np.ndarray], np.ndarray]


def bent(x: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[:, 1::2] += 0.5 * (x[:, 0 : 2 * (x.shape[1] // 2) : 2] ** 2 - 1.0)
    return out


def two_modes(x: np.ndarray) -> np.ndarray:
    return x + 1.5 * np.tanh(3 * x)


WARPS: dict[str, tuple[Warp, Warp, Warp]] = {
    "none": (np.array,) * 3,
    "sinh": (lambda x: np.sinh(1.2 * x),) * 3,
    "bent": (bent,) * 3,
    "half-cubes": (lambda x: np.sign(x) * np.abs(x) ** 1.5,) * 3,
    "two modes": (two_modes,) * 3,
    "mixed": (bent, lambda x: np.sinh(1.2 * x), two_modes),
}
# How strongly the sources see the target; the warp; whether each block is rotated after it.
SYSTEMS = (
    *(("middle", "none", False), ("strong", "bent", True), ("middle", "sinh", True), ("vision", "half-cubes", True)),
    *(("weak", "bent", False), ("tied", "mixed", False), ("strong", "two modes", False), ("middle", "bent", True)),
    *(("vision", "bent", False), ("strong", "mixed", True), ("null", "mixed", True)),
)
GAINS = {
    "null": (0, 0),
    "weak": (0.25, 0.25),
    "middle": (0.8, 0.8),
    "strong": (1.8, 1.8),
    "tied": (1, 1),
    "vision": (1.6, 0.4),
}


def planted_sets(n: int, seed: int) -> list[Cell]:
    """Channels ``x_i = H_i y + noise``, whose noises correlate by 0.3, warped."""
    d1, d2, m = PLANTED
    cells = []
    for number, (system, warp, rotated) in enumerate(SYSTEMS):
        rng = np.random.default_rng([seed, number, n])
        h1, h2 = (
            gain * rng.standard_normal((d, m)) / np.sqrt(d) for gain, d in zip(GAINS[system], (d1, d2), strict=True)
        )
        h = np.vstack([h1, h1 if system == "tied" else h2])
        noise = np.kron(np.array([[1.0, 0.3], [0.3, 1.0]]), np.eye(d1))
        covariance = np.block([[h @ h.T + noise, h], [h.T, np.eye(m)]])
        scale = np.sqrt(np.diag(covariance))
        rows = rng.standard_normal((n, len(scale))) @ np.linalg.cholesky(covariance / np.outer(scale, scale)).T
        blocks = [f(x) for f, x in zip(WARPS[warp], np.split(rows, [d1, d1 + d2], axis=1), strict=True)]
        if rotated:
            blocks = [x @ np.linalg.qr(rng.standard_normal((x.shape[1],) * 2)).Q for x in blocks]
        name = f"{system}, {warp}{', rotated' if rotated else ''}"
        cells.append(Cell(name, blocks, truth_of(covariance, blocks)))
    return cells


class Study:
    """Flows trained on all cells of a unit as one stack, and what twins of them show."""

    def __init__(self, cells: list[Cell], folds: np.ndarray, images: np.ndarray) -> None:
        self.cells, self.folds, self.images = cells, folds, images
        self.flows = self.trained([cell.blocks for cell in cells], seed=SEED)
        for cell, flow in zip(cells, self.flows, strict=True):
            cell.estimate = self.estimated(flow)

    def trained(self, rows: list[list[np.ndarray]], *, seed: int, kept: slice | np.ndarray = slice(None)):
        return gaussianize_layers(
            *([blocks[part][kept] for blocks in rows] for part in range(3)),
            folds=self.folds[kept],
            groups=self.images[kept],
            seed=seed,
        )

    def estimated(self, latents: Gaussianized | Twin, kept: slice | np.ndarray = slice(None)) -> PIDEstimate:
        blocks = (latents.z1, latents.z2, latents.zy if isinstance(latents, Twin) else latents.y)
        return estimate_pid_from_latents(*blocks, groups=self.images[kept], definitions=("broja",))["broja"]

    def twins(self, flows: list[Gaussianized], *, strength: float | None, seed: int) -> tuple[list[Twin], list]:
        """Twins of every cell and the flows trained on them."""
        drawn = [
            planted_twin(
                *(f.z1, f.z2, f.y, f.weights), held_out_loss=f.info.held_out_loss, strength=strength, seed=seed
            )
            for f in flows
        ]
        return drawn, self.trained([[t.x1, t.x2, t.y] for t in drawn], seed=seed + 1)

    def correct(self) -> None:
        """As estimate_pid and the workflow do."""
        for cell, twin, flow in zip(self.cells, *self.twins(self.flows, strength=None, seed=SEED), strict=True):
            found = corrected(cell.estimate, perfect=self.estimated(twin), found=self.estimated(flow))
            cell.ways["corrected"] = seven(found)
            cell.intervals["corrected"] = np.array([found.interval(name) for name in QUANTITIES])

    def try_others(self) -> None:
        """All other ways that were tried."""
        plain, again = self.twins(self.flows, strength=1.0, seed=SEED)
        third, last = self.twins(again, strength=1.0, seed=SEED + 2)
        half = np.isin(self.images, np.unique(self.images)[::2])
        halves = self.trained([cell.blocks for cell in self.cells], seed=SEED, kept=half)
        for number, cell in enumerate(self.cells):
            bits, twin, flow = seven(cell.estimate), plain[number], again[number]
            truth, perfect, found = (
                truth_of(twin.covariance, cell.blocks),
                *map(seven, map(self.estimated, (twin, flow))),
            )
            loss = perfect - found
            next_loss = seven(self.estimated(third[number])) - seven(self.estimated(last[number]))
            ratio = np.clip(perfect[JOINT] / max(found[JOINT], 0.05), 1.0, 3.0)
            cell.ways |= {
                "truth - estimate of the twin": bits + truth - found,
                "perfect - estimate of the twin": bits + loss,
                "in proportion": bits * ratio,
                "second iteration": bits + 2 * loss - next_loss,
                "extrapolated over rows": 2 * bits - seven(self.estimated(halves[number], half)),
            }
        stronger = {by: self.twins(self.flows, strength=by, seed=SEED) for by in (1.15, 1.45)}
        for by, (drawn, flows) in stronger.items():
            for cell, twin, flow in zip(self.cells, drawn, flows, strict=True):
                cell.ways[f"twin {by:g} times as strong"] = (
                    seven(cell.estimate) + seven(self.estimated(twin)) - seven(self.estimated(flow))
                )
        self._indirect(plain, again)

    def _indirect(self, plain: list[Twin], again: list[Gaussianized]) -> None:
        """Twins strengthened until their own joint information is what was found; only the dependence, not the maps."""
        from pidflow.flows import weights

        original, pidflow_twin = weights.strengthened, sys.modules[planted_twin.__module__]
        pidflow_twin.strengthened = lambda stored, by: stored
        try:
            drawn, flows = self.twins(self.flows, strength=1.4, seed=SEED)
        finally:
            pidflow_twin.strengthened = original
        for number, cell in enumerate(self.cells):
            ends = [
                (truth_of(t.covariance, cell.blocks), seven(self.estimated(f)))
                for t, f in ((plain[number], again[number]), (drawn[number], flows[number]))
            ]
            (low, found), (high, more) = ends
            bits = seven(cell.estimate)
            way = np.clip((bits[JOINT] - found[JOINT]) / max(more[JOINT] - found[JOINT], 1e-3), -1.0, 2.5)
            cell.ways["indirect inference"] = low + way * (high - low)
            cell.ways["mean of that and the twin's"] = 0.5 * (
                cell.ways["indirect inference"] + cell.ways["perfect - estimate of the twin"]
            )


def units(settings: argparse.Namespace) -> Iterator[tuple[str, list[Cell], np.ndarray, np.ndarray]]:
    for path in sorted((settings.results or Path("none")).glob("flows/*/*/*.h5")):
        if settings.tasks is None or path.parent.name in settings.tasks:
            yield "run", *cells_of(path, settings.results)
    for n in settings.rows:
        images = np.arange(n) // 3
        for seed in range(settings.sets):
            yield f"planted, {n} rows", planted_sets(n, seed), grouped_folds(n, folds=3, groups=images, seed=0), images


def report(name: str, cells: list[Cell]) -> None:
    truth = np.array([cell.truth for cell in cells])
    known = truth[:, JOINT] > 0.1
    print(f"\n{name}: {len(cells)} cells")
    print(f"{'':32}{'joint, median (quartiles)':28}{'worst':>6}  mean error R U1 U2 S          coverage R U1 U2 S")
    for way in ("uncorrected", *cells[0].ways):
        bits = np.array([seven(cell.estimate) if way == "uncorrected" else cell.ways[way] for cell in cells])
        off = bits - truth
        low, middle, high = np.quantile(off[known, JOINT] / truth[known, JOINT], [0.25, 0.5, 0.75])
        spans = [
            cell.intervals.get(way)
            if way != "uncorrected"
            else np.array([cell.estimate.interval(name) for name in QUANTITIES])
            for cell in cells
        ]
        covered = ""
        if spans[0] is not None:
            lower, upper = np.moveaxis(np.array(spans), 2, 0)
            for slack in (0.0, TOLERANCE):
                held = ((lower - slack - 1e-9 <= truth) & (truth <= upper + slack + 1e-9)).mean(axis=0)[ATOMS]
                covered += " ".join(f"{share:4.0%}" for share in held) + ("; +0.1 bit " if not slack else "")
        means = " ".join(f"{value:+.3f}" for value in off[:, ATOMS].mean(axis=0))
        worst = np.abs(off[:, ATOMS]).max(axis=1).mean()
        print(f"{way:32}{middle:+.1%} ({low:+.1%} to {high:+.1%})".ljust(60) + f"{worst:6.3f}  {means}  {covered}")


def save(path: Path, cells: list[Cell]) -> None:
    """Truth, estimates and intervals of every cell, quantities in the order of `QUANTITIES`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        names=[cell.name for cell in cells],
        truth=[cell.truth for cell in cells],
        uncorrected=[seven(cell.estimate) for cell in cells],
        intervals=[cell.intervals["corrected"] for cell in cells],
        **{way: [cell.ways[way] for cell in cells] for way in cells[0].ways},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--tasks", nargs="+", help="only these tasks of the run")
    parser.add_argument("--rows", type=int, nargs="*", default=[900, 2000])
    parser.add_argument("--sets", type=int, default=2)
    parser.add_argument("--tried", action="store_true")
    parser.add_argument("--save", type=Path, help="a folder for the numbers of each cell, as npz")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(f"strength of twins with 24 columns, 3 folds: {strength_of(900, 24, 3):.2f} (900 rows)")
    found: dict[str, list[Cell]] = {}
    for name, cells, folds, images in units(settings):
        study = Study(cells, folds, images)
        study.correct()
        if settings.tried:
            study.try_others()
        found.setdefault(name, []).extend(cells)
        print(f"{name} {cells[0].name}: done", file=sys.stderr, flush=True)
    for name, cells in found.items():
        report(name, cells)
        if settings.save:
            save(settings.save / f"{name.replace(', ', '-').replace(' ', '-')}.npz", cells)
        if name == "run":
            report("run, layer 0 left out", [cell for cell in cells if not cell.name.endswith(layer_name(0))])


if __name__ == "__main__":
    main()

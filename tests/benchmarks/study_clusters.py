"""Rows that cluster as a model's states do: how far off each estimator is, and where the truth lies.

    python tests/benchmarks/study_clusters.py planted                # every atom known
    python tests/benchmarks/study_clusters.py intervals              # many kinds of them, estimator `mixed` alone
    python tests/benchmarks/study_clusters.py copies results         # mixtures fitted to a run's cells
    python tests/benchmarks/study_clusters.py many large-results     # a run with many more questions; see below

**planted**: the target is a label, told by the sources as a table says, and a Gaussian within each label, of which
they tell by known channels; both add up. Blocks are clustered, spread and turned label by label, and bent; none of that
changes an information.

**intervals**: the same and siblings: labels of unequal size, columns with heavy tails (an increasing map of each before
the cluster is turned), blocks bent, targets whose clusters overlap so far that there is no valley; from few rows and
from many. Coverage is the share of cells whose 95 % interval, as reported, holds the truth. Beside it: how many cells
carry a warning of those in which an interval misses an atom, and of the others; errors and coverage without warning.

**copies**: a mixture of Gaussians, one a combination of clusters of the three blocks, is fitted to each cell of a run,
and rows are drawn from it. Its informations follow from densities (60,000 draws); its atoms are not known.

**many**: a run of `tasks: {choose-attr: {items: 14400}}`. Mixtures of Gaussians, one or several a label of the target,
are fitted to two thirds of the rows; under each the informations are the means of their densities over these rows,
where they are too large, and over the others, where they are too small.

Errors are estimate minus truth in bits, by ``broja``, 10 + 10 + 4 columns, three folds.
"""

import argparse
import sys
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

import torch
from scipy.cluster.vq import kmeans2
from scipy.special import logsumexp, ndtr
from study_correction import ATOMS, JOINT, Cell, Study, bent, seven
from study_mixed import atoms_of_table, plus, table_of

from pidflow.groups import grouped_folds
from pidflow.pid.estimators._rows import estimates_by
from pidflow.pid.gaussian import gaussian_pid
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.labels import CODES, labels_of
from pidflow.pid.results import QUANTITIES
from pidflow.stages._scores import read_scores

ROWS, DRAWN = 900, 60_000
# Rows of the pooled covariance that are added to each component's own.
SHRUNK = 30
OTHERS = ("mixed", "gaussian", "copula")
SETTINGS = {"permutations": 20, "jackknife": 20, "seed": 0, "definitions": ("broja",)}


def turned(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d))).Q


# How a label is told: its table of two symbols and the label. The second source always is, or is not, sure of it.
def _told(reliability: float, labels: int) -> np.ndarray:
    """Source 2 knows the label, source 1 guesses it right so often."""
    pmf = np.zeros((labels, labels, labels))
    for label in range(labels):
        for guess in range(labels):
            pmf[guess, label, label] = (reliability if guess == label else (1 - reliability) / (labels - 1)) / labels
    return pmf


def _unsure(first: float, second: float, labels: int) -> np.ndarray:
    """Both guess, independently given the label."""
    pmf = np.zeros((labels, labels, labels))
    for label in range(labels):
        tell = [np.where(np.arange(labels) == label, p, (1 - p) / (labels - 1)) for p in (first, second)]
        pmf[:, :, label] = np.outer(*tell) / labels
    return pmf


TABLES = {
    "4 labels, the text knows": _told(0.5, 4),
    "8 labels, the text knows": _told(0.3, 8),
    "5 labels, both guess": _unsure(0.5, 0.85, 5),
    "4 labels, sum of two codes": table_of(lambda i, j: (i + j) % 4, 4, 4),
    "6 labels of 2 and 3": table_of(lambda i, j: 3 * i + j, 2, 3),
}
# Spread of overlapping clusters of the target, in distances of their centres.
OVERLAP = 0.25
# Signal over noise of each source in both directions within a label.
WITHIN = {"none": ((0, 0), (0, 0)), "weak": ((0.6, 0.2), (0.3, 0.8)), "strong": ((0.5, 0.3), (2, 4))}


KINDS = ("straight", "unequal", "overlapping", "heavy tails", "bent")


def planted_sets(seed: int) -> list[Cell]:
    """One cell a table, strength within the labels and bend."""
    return [
        _planted(np.random.default_rng([seed, *map(ord, name + strength)]), name, strength, warp)
        for name in TABLES
        for strength in WITHIN
        for warp in ("straight", "bent")
    ]


def _planted(
    rng: np.random.Generator, table: str, strength: str, warp: str, rows: int = ROWS, *, pmf: np.ndarray | None = None
) -> Cell:
    pmf, gains = TABLES[table] if pmf is None else pmf, WITHIN[strength]
    symbols = np.unravel_index(rng.choice(pmf.size, size=rows, p=pmf.ravel()), pmf.shape)
    gain, one = np.array(gains, dtype=float), np.eye(2)
    signal, noise = rng.standard_normal((rows, 2)), rng.standard_normal((2, rows, 2))
    noise[1] = 0.3 * noise[0] + np.sqrt(1 - 0.09) * noise[1]
    h = np.vstack([np.diag(each) for each in gain])
    cov = np.block([[h @ h.T + np.kron([[1, 0.3], [0.3, 1]], one), h], [h.T, one]])
    found = gaussian_pid(cov, (2, 2, 2), definition="broja")
    truth = plus(atoms_of_table(pmf), {atom: float(getattr(found, atom)) for atom in QUANTITIES[ATOMS]})
    inner = [np.column_stack([gain[k] * signal + noise[k], rng.standard_normal((rows, 6))]) for k in range(2)]
    inner.append(signal)
    if warp == "heavy tails":
        inner = [np.sinh(0.8 * block) for block in inner]
    blocks = [_around(rng, *each, bend=warp == "bent") for each in zip(symbols, inner, strict=True)]
    if warp == "overlapping":
        place = symbols[2] + OVERLAP * rng.standard_normal(rows)
        blocks[2] = np.column_stack([place, signal, rng.standard_normal(rows)]) @ turned(rng, 4)
        truth = plus(_overlapping(table), {a: float(getattr(found, a)) for a in QUANTITIES[ATOMS]})
    return Cell(f"{table}, {strength}, {warp}", blocks, _whole(truth))


@cache
def _overlapping(name: str) -> dict[str, float]:
    """Atoms of a table whose label is seen through noise, in bins finer than that."""
    pmf = TABLES[name]
    edges = np.arange(-4 * OVERLAP, pmf.shape[2] - 1 + 4.01 * OVERLAP, OVERLAP / 2)
    share = np.diff(ndtr((edges - np.arange(pmf.shape[2])[:, None]) / OVERLAP), axis=1)
    seen = pmf @ share
    return atoms_of_table(seen / seen.sum())


def _unequal(pmf: np.ndarray) -> np.ndarray:
    """The table with labels of unequal size: k, k - 1, ... 1 parts of all."""
    parts = np.arange(pmf.shape[2], 0.0, -1.0)
    out = pmf * parts / parts.sum() / pmf.sum(axis=(0, 1))
    return out / out.sum()


def _whole(atoms: dict[str, float]) -> np.ndarray:
    """The seven quantities that four atoms stand for."""
    r, u1, u2, s = (atoms[name] for name in QUANTITIES[ATOMS])
    return np.array([r, u1, u2, s, r + u1, r + u2, r + u1 + u2 + s])


def _around(rng: np.random.Generator, symbol: np.ndarray, inner: np.ndarray, *, bend: bool) -> np.ndarray:
    """Clusters on a grid, one a symbol, the rest of each spread and turned in a way of its own; columns 2 + d."""
    count, d = int(symbol.max()) + 1, inner.shape[1]
    side = int(np.ceil(np.sqrt(count)))
    place = np.stack(np.divmod(symbol, side), axis=1) + np.clip(0.12 * rng.standard_normal((len(symbol), 2)), -0.3, 0.3)
    own = [np.exp(0.3 * rng.standard_normal((d, 1))) * turned(rng, d) for _ in range(count)]
    block = np.column_stack([place, np.einsum("ni,nij->nj", inner, np.stack(own)[symbol])])
    block = block / block.std(axis=0)
    return (bent(block) if bend else block) @ turned(rng, block.shape[1])


def mixture_copies(path: Path, layers: list[int]) -> tuple[list[Cell], np.ndarray]:
    """Rows of mixtures fitted to the cells of one unit, whose sources are no codes; and the folds of its rows."""
    scores = read_scores(str(path))
    cells = []
    for layer in layers:
        blocks = scores.of_layer(layer)
        labels = [labels_of(block) for block in blocks]
        if CODES in {each.kind for each in labels}:
            continue
        rng = np.random.default_rng(layer)
        model = Mixture.fitted(np.column_stack(blocks), labels)
        cuts = np.cumsum([block.shape[1] for block in blocks])[:-1]
        truth = np.full(len(QUANTITIES), np.nan)
        truth[len(QUANTITIES[ATOMS]) :] = model.informations(model.drawn(rng, DRAWN), cuts)
        rows = np.split(model.drawn(rng, len(scores.images)), cuts, axis=1)
        found = [labels_of(block).count for block in rows]
        cells.append(Cell(f"{path.parent.name} layer {layer}: {found} of {[e.count for e in labels]}", rows, truth))
    return cells, scores.folds, scores.images


class Mixture:
    """A mixture of Gaussians over all columns of a cell, one component a combination of labels."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances

    @classmethod
    def fitted(cls, rows: np.ndarray, labels: list) -> "Mixture":
        """Combinations of fewer than 20 rows join those of their target; covariances are shrunk to the pooled one."""
        combination = np.unique(np.stack([each.index for each in labels]), axis=1, return_inverse=True)[1].ravel()
        rare = np.bincount(combination)[combination] < 20
        combination = np.where(rare, combination.max() + 1 + labels[2].index, combination)
        combination = np.unique(combination, return_inverse=True)[1].ravel()
        parts = [rows[combination == each] for each in range(combination.max() + 1)]
        parts = [part for part in parts if len(part) >= 5]
        means = np.stack([part.mean(axis=0) for part in parts])
        scatters = [(part - mean).T @ (part - mean) for part, mean in zip(parts, means, strict=True)]
        pooled = sum(scatters) / (sum(map(len, parts)) - len(parts))
        shrunk = [(own + 50 * pooled) / (len(part) + 50) for own, part in zip(scatters, parts, strict=True)]
        sizes = np.array([len(part) for part in parts])
        return cls(sizes / sizes.sum(), means, np.stack(shrunk))

    def drawn(self, rng: np.random.Generator, n: int) -> np.ndarray:
        part = rng.choice(len(self.weights), size=n, p=self.weights)
        roots = np.linalg.cholesky(self.covariances)
        return self.means[part] + np.einsum("nij,nj->ni", roots[part], rng.standard_normal((n, self.means.shape[1])))

    @classmethod
    def grown(cls, rows: np.ndarray, labels: np.ndarray, parts: int) -> "Mixture":
        """Gaussians fitted to rows by expectation and maximisation, begun at so many parts of each label's rows."""
        start = np.empty(len(rows), dtype=int)
        for label in np.unique(labels):
            kept = labels == label
            start[kept] = parts * label + (kmeans2(rows[kept], parts, minit="++", seed=0)[1] if parts > 1 else 0)
        member = np.eye(start.max() + 1)[start].T
        last = -np.inf
        for _ in range(40):
            sizes = member.sum(axis=1) + 1e-9
            means = member @ rows / sizes[:, None]
            scatters = np.stack([((rows - m) * w[:, None]).T @ (rows - m) for m, w in zip(means, member, strict=True)])
            pooled = scatters.sum(axis=0) / len(rows)
            shrunk = (scatters + SHRUNK * pooled) / (sizes[:, None, None] + SHRUNK)
            model = cls(sizes / sizes.sum(), means, shrunk)
            logs = model.component_logs(rows, np.arange(rows.shape[1]))
            whole = logsumexp(logs, axis=0)
            member = np.exp(logs - whole)
            if whole.mean() - last < 1e-3:
                break
            last = whole.mean()
        return model

    def component_logs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Log of weight times density of each component, ``(components, n)``, in nats."""
        logs = []
        for weight, mean, cov in zip(self.weights, self.means, self.covariances, strict=True):
            root = np.linalg.cholesky(cov[np.ix_(columns, columns)])
            white = np.linalg.solve(root, (rows[:, columns] - mean[columns]).T)
            scale = np.log(np.diag(root)).sum() + 0.5 * len(columns) * np.log(2 * np.pi)
            logs.append(np.log(weight) - 0.5 * np.square(white).sum(axis=0) - scale)
        return np.stack(logs)

    def log_density(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return logsumexp(self.component_logs(rows, columns), axis=0)

    def informations(self, rows: np.ndarray, cuts: np.ndarray) -> list[float]:
        """Mean information densities of rows in bits, for I1, I2 and I12."""
        one, two, target = np.split(np.arange(self.means.shape[1]), cuts)
        y = self.log_density(rows, target)
        return [
            float(np.mean(self.log_density(rows, np.r_[x, target]) - self.log_density(rows, x) - y) / LN2)
            for x in (one, two, np.r_[one, two])
        ]


def others(cells: list[Cell], images: np.ndarray) -> None:
    """What estimators find that need no training."""
    for cell in cells:
        for name in OTHERS:
            found, _ = estimates_by(name, scores=tuple(cell.blocks), latents=lambda: None, groups=images, **SETTINGS)
            cell.ways[name] = seven(found["broja"])
            cell.intervals[name] = np.array([found["broja"].interval(quantity) for quantity in QUANTITIES])


def summary(title: str, cells: list[Cell]) -> None:
    """A line a way: joint information against truth, errors of atoms and informations, coverage."""
    truth = np.array([cell.truth for cell in cells])
    print(f"\n{title}: {len(cells)} cells, joint {np.mean(truth[:, JOINT]):.2f} bit in the mean")
    print(f"{'':14}{'joint, median (quartiles)':28}{'worst':>6}  mean error, {' '.join(QUANTITIES)}   coverage")
    for way in (*(("uncorrected",) if cells[0].estimate else ()), *cells[0].ways):
        bits = np.array([seven(cell.estimate) if way == "uncorrected" else cell.ways[way] for cell in cells])
        off = bits - truth
        low, middle, high = np.quantile(off[:, JOINT] / truth[:, JOINT], [0.25, 0.5, 0.75])
        spans = np.array(
            [
                cell.intervals[way]
                if way in cell.intervals
                else [cell.estimate.interval(quantity) for quantity in QUANTITIES]
                for cell in cells
            ]
        )
        held = ((spans[..., 0] - 1e-9 <= truth) & (truth <= spans[..., 1] + 1e-9)).mean(axis=0)
        known = np.isfinite(truth[0])
        worst = np.abs(off[:, known]).max(axis=1).mean()
        print(
            f"{way:14}{middle:+.1%} ({low:+.1%} to {high:+.1%})".ljust(42)
            + f"{worst:6.3f}  {' '.join(f'{v:+.2f}' for v in off[:, known].mean(axis=0))}   "
            + " ".join(f"{v:4.0%}" for v in held[known])
        )


def each_line(cells: list[Cell]) -> None:
    """The joint information of every cell, all ways."""
    for cell in cells:
        found = ({"uncorrected": seven(cell.estimate)} if cell.estimate else {}) | cell.ways
        words = "  ".join(f"{way} {bits[JOINT]:.2f}" for way, bits in found.items())
        print(f"{cell.name:64} truth {cell.truth[JOINT]:.2f}  {words}", flush=True)


def judged(cells: list[Cell], folds: np.ndarray, images: np.ndarray, *, flows: bool) -> list[Cell]:
    if flows:
        Study(cells, folds, images).correct()
    others(cells, images)
    each_line(cells)
    return cells


def planted(asked: argparse.Namespace) -> None:
    images = np.arange(ROWS)
    folds = grouped_folds(ROWS, folds=3, groups=images, seed=0)
    cells = [
        cell for seed in range(asked.sets) for cell in judged(planted_sets(seed), folds, images, flows=asked.flows)
    ]
    for warp in ("straight", "bent"):
        summary(f"planted, {warp}", [cell for cell in cells if cell.name.endswith(warp)])


def intervals(asked: argparse.Namespace) -> None:
    """Errors, coverage and warnings of estimator `mixed` on many kinds of planted clusters."""
    print(f"{'rows':>5} {'kind':13}{'cells':>5} {'joint':>6} {'worst':>6}  mean error R U1 U2 S I12", end="")
    print("           coverage R U1 U2 S    warned  of missed, of held  not warned: worst, coverage")
    for rows in asked.rows:
        for kind in asked.kinds:
            cells, said = [], []
            for seed, table, strength in product(range(asked.sets), TABLES, WITHIN):
                rng = np.random.default_rng([seed, rows, *map(ord, table + strength)])
                pmf = _unequal(TABLES[table]) if kind == "unequal" else None
                cell = _planted(rng, table, strength, kind, rows, pmf=pmf)
                found, _ = estimates_by(
                    "mixed", scores=tuple(cell.blocks), latents=lambda: None, groups=None, **SETTINGS
                )
                cell.estimate = found["broja"]
                cells.append(cell)
                said.append(bool(cell.estimate.warnings))
            _interval_line(rows, kind, cells, np.array(said))


def _interval_line(rows: int, kind: str, cells: list[Cell], said: np.ndarray) -> None:
    truth = np.array([cell.truth for cell in cells])
    off = np.array([seven(cell.estimate) for cell in cells]) - truth
    spans = np.array([[cell.estimate.interval(name) for name in QUANTITIES] for cell in cells])
    held = (spans[..., 0] - 1e-9 <= truth) & (truth <= spans[..., 1] + 1e-9)
    worst = np.abs(off[:, ATOMS]).max(axis=1)

    def shares(kept: np.ndarray) -> str:
        return " ".join(f"{share:4.0%}" for share in held[kept][:, ATOMS].mean(axis=0)) if kept.any() else "none"

    everything = np.ones(len(cells), dtype=bool)
    errors = " ".join(f"{value:+.3f}" for value in off[:, [0, 1, 2, 3, JOINT]].mean(axis=0))
    missed = ~held[:, ATOMS].all(axis=1)
    caught = f"{(said & missed).sum():2} of {missed.sum():2}, {(said & ~missed).sum():2} of {(~missed).sum():2}"
    quiet = f"{worst[~said].mean():.3f} {shares(~said)}" if not said.all() else "none"
    print(
        f"{rows:5} {kind:13}{len(cells):5} {truth[:, JOINT].mean():6.2f} {worst.mean():6.3f}  "
        f"{errors}  {shares(everything)}  {said.mean():4.0%}    {caught}    {quiet}",
        flush=True,
    )


def copies(asked: argparse.Namespace) -> None:
    cells = []
    for path in sorted(asked.results.glob("pca/standin/*/intact.h5")):
        if asked.tasks is None or path.parent.name in asked.tasks:
            cells += judged(*mixture_copies(path, asked.layers), flows=asked.flows)
    summary("copies", cells)


def many(asked: argparse.Namespace) -> None:
    """Informations under mixtures fitted to two thirds of many rows, on these and on the others."""
    for path in sorted(asked.results.glob("pca/*/*/intact.h5")):
        if asked.tasks is not None and path.parent.name not in asked.tasks:
            continue
        scores = read_scores(str(path))
        order = np.random.default_rng(0).permutation(len(scores.images))
        for layer in asked.layers:
            blocks = scores.of_layer(layer)
            cuts = np.cumsum([block.shape[1] for block in blocks])[:-1]
            rows = np.column_stack(blocks)[order]
            rows = rows / rows.std(axis=0)
            train, test = np.split(rows, [2 * len(rows) // 3])
            labels = labels_of(blocks[2]).index[order][: len(train)]
            for parts in asked.parts:
                model = Mixture.grown(train, labels, parts)
                words = [
                    f"{name}: log-density {model.log_density(part, np.arange(rows.shape[1])).mean() / LN2:7.2f}, "
                    f"I1, I2, I12 {' '.join(f'{value:5.2f}' for value in model.informations(part, cuts))}"
                    for name, part in (("fitted rows", train), ("others", test))
                ]
                print(
                    f"{path.parent.name} layer {layer}, {len(model.weights):3} Gaussians; {'; '.join(words)}",
                    flush=True,
                )


def main() -> None:
    """Print what the asked part finds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("part", choices=["planted", "intervals", "copies", "many"])
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 5, 8])
    parser.add_argument("--sets", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 900, 2000])
    parser.add_argument("--flows", action=argparse.BooleanOptionalAction, default=True, help="train flows as well")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 4], help="Gaussians a label of the target")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    {"planted": planted, "intervals": intervals, "copies": copies, "many": many}[asked.part](asked)


if __name__ == "__main__":
    main()

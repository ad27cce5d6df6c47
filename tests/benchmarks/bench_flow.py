"""What flows recover, what they find in noise, what they cost; and the same of the critic.

    python tests/benchmarks/bench_flow.py truth  [--rows 2000] [--seeds 1] [--folds 3] [--config max_steps=100 ...]
    python tests/benchmarks/bench_flow.py null   [--rows 900] [--seeds 20]
    python tests/benchmarks/bench_flow.py unit   [--rows 900] [--folds 5]
    python tests/benchmarks/bench_flow.py stack  [--rows 900]
    python tests/benchmarks/bench_flow.py critic [--rows 900] [--seeds 20]
    python tests/benchmarks/bench_flow.py flags  [--rows 900] [--seeds 4]
    python tests/benchmarks/bench_flow.py choices [--seeds 1]
    python tests/benchmarks/bench_flow.py rounding [--rows 900] [--seeds 3]

``truth``: Gaussian sources and targets of known information, each block sent through a known diffeomorphism (after
Czyż et al. 2023 and Butakov et al. 2024). Errors in nats, after the exact bias correction, of the sample before it
was warped, of the plain Gaussian and the copula estimate of what the warp left, and of the flow; "per fold" is the
flow without pooling of folds. ``null``: independent blocks. ``unit``: nine layers of one model, differently warped.
``stack``: 33 flows at once against one after another. ``critic``: how often it flags what is and what is not there.
``flags``: the same on the planted cases of a calibration, by estimator, as in a run. ``choices``: the errors of
``truth`` and the worst of ``null`` for other architectures and schedules, each the default but for what its line
says, and for two ways not to do it: conditioner networks (zuko's autoregressive spline flows, same loss, folds and
early stop), and flows trained apart, each block alone towards a standard normal. ``rounding``: how far the atoms of
planted sets (those of study_correction.py) move when nothing but rounding changes, and with the seed. Times are
processor seconds of one thread.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zuko
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.flows._product import Layout
from pidflow.flows.gaussianize import FlowConfig, Gaussianized, gaussianize, gaussianize_layers
from pidflow.flows.training import train_stack
from pidflow.groups import grouped_folds, held_out_split
from pidflow.pid.bias import mi_bias
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian_system import LN2, gaussian_mi
from pidflow.pid.results import QUANTITIES
from pidflow.stats import normal_scores
from pidflow.validation.critic import critic_information
from pidflow.validation.missed import missed_information
from pidflow.validation.planted_cases import CASES, planted_cases

sys.path.insert(0, str(Path(__file__).resolve().parent))

from study_correction import JOINT, planted_sets

Warp = Callable[[np.ndarray], np.ndarray]


def identity(x: np.ndarray) -> np.ndarray:
    return x


def half_cube(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.abs(x) ** 1.5


def cube(x: np.ndarray) -> np.ndarray:
    return x**3 + 0.2 * x


def heavy(x: np.ndarray) -> np.ndarray:
    return np.sinh(1.5 * x)


def bimodal(x: np.ndarray) -> np.ndarray:
    """Columns with the law of an even mixture of N(-1.5, 0.25) and N(1.5, 0.25)."""
    grid = np.linspace(-9, 9, 4001)
    return np.interp(ndtr(x), (ndtr((grid + 1.5) / 0.5) + ndtr((grid - 1.5) / 0.5)) / 2, grid)


def banana(x: np.ndarray) -> np.ndarray:
    """Every second column moved by the square of the one before it."""
    z = x.copy()
    z[:, 1::2] += x[:, 0 : 2 * (x.shape[1] // 2) : 2] ** 2
    return z


def spiral(x: np.ndarray) -> np.ndarray:
    return _spiral(x, 0, 1)


def other_spiral(x: np.ndarray) -> np.ndarray:
    return _spiral(x, 1, 2)


def _spiral(x: np.ndarray, i: int, j: int) -> np.ndarray:
    """Rotation of two columns by the squared norm of the row over its length."""
    angle, z = np.square(x).mean(axis=1), x.copy()
    z[:, i] = np.cos(angle) * x[:, i] - np.sin(angle) * x[:, j]
    z[:, j] = np.sin(angle) * x[:, i] + np.cos(angle) * x[:, j]
    return z


@dataclass(frozen=True)
class Problem:
    """Blocks of `dims` columns, the first `pairs` target columns tied to both sources (to one if `single`)."""

    name: str
    dims: tuple[int, int, int]
    warps: tuple[Warp, Warp, Warp]
    rho: float = 0.6
    pairs: int = 99
    single: bool = False
    rotated: bool = False

    def covariance(self) -> np.ndarray:
        d1, d2, m = self.dims
        out = np.eye(d1 + d2 + m)
        for j in range(min(self.pairs, m)):
            for start, width, rho in ((0, d1, self.rho), (d1, d2, 0.0 if self.single else 0.7 * self.rho)):
                if j < width:
                    out[start + j, d1 + d2 + j] = out[d1 + d2 + j, start + j] = rho
        return out

    def draw(self, n: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Blocks before and after the warp (and, if `rotated`, a random rotation of each block)."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        rows = rng.standard_normal((n, sum(self.dims))) @ np.linalg.cholesky(self.covariance()).T
        before = np.split(rows, np.cumsum(self.dims)[:2], axis=1)
        after = [warp(block) for warp, block in zip(self.warps, before, strict=True)]
        if self.rotated:
            after = [block @ rotation(block.shape[1], rng) for block in after]
        return before, after

    def truth(self) -> float:
        d1, d2, m = self.dims
        return float(gaussian_mi(self.covariance(), (d1 + d2, m))) * LN2


PROBLEMS = (
    Problem("linear 10/10/5", (10, 10, 5), (identity,) * 3),
    Problem("monotone 1-D", (1, 1, 1), (cube, np.sinh, np.exp)),
    Problem("monotone 5-D", (5, 5, 5), (cube, heavy, np.exp)),
    Problem("monotone 5-D rotated", (5, 5, 5), (half_cube, np.sinh, half_cube), rotated=True),
    Problem("half-cube 5-D", (5, 5, 5), (half_cube,) * 3),
    Problem("heavy tails 5-D", (5, 5, 5), (heavy,) * 3),
    Problem("bimodal 5-D", (5, 5, 5), (bimodal,) * 3),
    Problem("bimodal 5-D rotated", (5, 5, 5), (bimodal,) * 3, rotated=True),
    Problem("banana 2-D", (2, 2, 2), (banana,) * 3),
    Problem("banana 4-D rotated", (4, 4, 4), (banana,) * 3, rotated=True),
    Problem("spiral 3-D", (3, 3, 3), (spiral, spiral, other_spiral)),
    Problem("spiral 3-D rotated", (3, 3, 3), (spiral, spiral, other_spiral), rotated=True),
    Problem("spiral 5-D", (5, 5, 5), (spiral, spiral, other_spiral)),
    Problem("spiral 25-D, 2 pairs", (25, 25, 25), (spiral, identity, other_spiral), rho=0.8, pairs=2, single=True),
    Problem("25-D, 2 pairs", (25, 25, 25), (identity,) * 3, rho=0.8, pairs=2, single=True),
    Problem("half-cube 25-D, 2 pairs", (25, 25, 25), (half_cube,) * 3, rho=0.8, pairs=2, single=True),
    Problem("null 10/10/5", (10, 10, 5), (half_cube, bimodal, heavy), rho=0.0),
    Problem("null 10/10/10", (10, 10, 10), (identity,) * 3, rho=0.0),
)


def rotation(d: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d))).Q


def corrected_nats(x1: np.ndarray, x2: np.ndarray, y: np.ndarray) -> float:
    p, q = x1.shape[1] + x2.shape[1], y.shape[1]
    covariance = np.cov(np.hstack([x1, x2, y]).T)
    return (float(gaussian_mi(covariance, (p, q))) - mi_bias(len(y), p, q)) * LN2


def bench_truth(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    print(
        f"{'':26}{'true':>7}"
        + "".join(f"{name:>10}" for name in ("unwarped", "gaussian", "copula", "flow", "per fold"))
        + f"{'seconds':>9}  steps"
    )
    table = []
    labels = np.arange(rows) % folds
    for problem in PROBLEMS:
        for seed in range(seeds):
            before, after = problem.draw(rows, seed)
            start = time.process_time()
            found = gaussianize(*after, folds=labels, seed=seed, config=config)
            seconds = time.process_time() - start
            latents = found.z1, found.z2, found.y
            each = [corrected_nats(*(block[labels == k] for block in latents)) for k in range(folds)]
            estimates = [corrected_nats(*before), corrected_nats(*after)]
            estimates += [corrected_nats(*map(normal_scores, after)), corrected_nats(*latents), float(np.mean(each))]
            errors = np.array(estimates) - problem.truth()
            table.append(errors)
            print(
                f"{problem.name:26}{problem.truth():7.3f}{errors[0]:+10.3f}"
                + "".join(f"{e:+10.3f}" for e in errors[1:4])
                + f"{errors[4]:+10.3f}{seconds:9.1f}  {found.info.best_step}",
                flush=True,
            )
    mean = np.abs(table).mean(axis=0)
    print(f"{'mean absolute error':33}{mean[0]:10.3f}" + "".join(f"{e:10.3f}" for e in mean[1:4]) + f"{mean[4]:10.3f}")


def bench_null(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    for dims in ((10, 10, 5), (10, 10, 10)):
        bits = []
        for seed in range(seeds):
            blocks = [np.random.default_rng([seed, b]).standard_normal((rows, d)) for b, d in enumerate(dims)]
            found = gaussianize(*blocks, folds=np.arange(rows) % folds, seed=seed, config=config)
            bits.append(corrected_nats(found.z1, found.z2, found.y) / LN2)
        print(f"null {dims}: I12 {np.mean(bits):+.3f} ± {np.std(bits):.3f} bits, largest {np.abs(bits).max():.3f}")


def layers_of_one_unit(rows: int, count: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, float]:
    """One target, and per layer the same sources through another warp, rotated."""
    problem = Problem("unit", (10, 10, 5), (identity,) * 3, rho=0.5)
    before, _ = problem.draw(rows, 0)
    rng = np.random.default_rng(1)
    warps = (identity, half_cube, banana, spiral, bimodal, np.sinh, banana, half_cube, identity)
    x1, x2 = ([warps[i % 9](block) @ rotation(10, rng) for i in range(count)] for block in before[:2])
    return x1, x2, half_cube(before[2]) @ rotation(5, rng), problem.truth()


def report(found: list[Gaussianized], truth: float, x1: list, x2: list, y: np.ndarray) -> str:
    flow = np.mean([corrected_nats(f.z1, f.z2, f.y) for f in found])
    linear = np.mean([corrected_nats(a, b, y) for a, b in zip(x1, x2, strict=True)])
    steps = [int(f.info.steps_run.mean()) for f in found]
    return f"I12 true {truth:.3f} linear {linear:.3f} flow {flow:.3f} nats; steps {steps}"


def bench_unit(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    x1, x2, y, truth = layers_of_one_unit(rows, 9)
    start = time.process_time()
    found = gaussianize_layers(x1, x2, y, folds=np.arange(rows) % folds, config=config)
    print(f"9 layers x {folds} folds: {time.process_time() - start:.1f} s; {report(found, truth, x1, x2, y)}")


def bench_stack(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    """Equal work on both sides: 20 steps of every flow, none stopped."""
    count, config = 33, config.model_copy(update={"max_steps": 20, "patience": 99})
    outside = rows * (folds - 1) // folds
    x = torch.randn(count, 25, outside, generator=torch.Generator().manual_seed(0))
    parts = x.split([outside - outside // 7, outside // 7], dim=2)

    def train(flows: slice) -> float:
        (train, aside), start = (part[flows] for part in parts), time.process_time()
        train_stack(
            *(tensor for part in (train, aside) for tensor in (part, torch.ones(len(part), part.shape[2]))),
            layout=Layout.of([(10, 10, 5)] * len(train)),
            config=config,
            seed=0,
        )
        return time.process_time() - start

    train(slice(1))  # the first call of a process pays for loading
    together = train(slice(None))
    apart = sum(train(slice(i, i + 1)) for i in range(count))
    print(f"{count} flows together {together:.1f} s, one after another {apart:.1f} s: {apart / together:.1f} times")


def bench_critic(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    def xor(blocks: list[np.ndarray]) -> None:
        x1, x2, y = blocks
        y[:, 0] = np.abs(y[:, 0]) * np.sign(x1[:, 0] * x2[:, 0])

    def curved(blocks: list[np.ndarray]) -> None:
        blocks[2][:, 0] = (blocks[0][:, 0] ** 2 - 1) / np.sqrt(2) + 0.5 * blocks[2][:, 0]

    def tied(blocks: list[np.ndarray]) -> None:
        blocks[2] += 0.5 * blocks[0][:, : blocks[2].shape[1]]

    cases = {"nothing": lambda blocks: None, "Gaussian": tied, "xor": xor, "curved": curved}
    for name, plant in cases.items():
        for dims in ((10, 10, 4), (2, 2, 2)):
            found, seconds = [], 0.0
            for seed in range(seeds):
                blocks = [np.random.default_rng([seed, b]).standard_normal((rows, d)) for b, d in enumerate(dims)]
                plant(blocks)
                start = time.process_time()
                bound = critic_information(blocks, folds=np.arange(rows) % folds, seed=seed)
                found.append(missed_information(*blocks, bound=bound.rows))
                seconds += time.process_time() - start
            print(
                f"{name:9} {dims!s:12} flags {sum(f.flag for f in found)}/{seeds}, "
                f"bound {np.mean([f.bound for f in found]):+.3f}, "
                f"Gaussian {np.mean([f.gaussian_bits for f in found]):+.3f}, "
                f"missed {np.mean([f.bits for f in found]):.3f} ± {np.mean([f.se for f in found]):.3f} bits, "
                f"{seconds / seeds:.2f} s",
                flush=True,
            )


def bench_flags(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    print(f"{'':10}{'true':>6}  {'bound, bits':18}{'Gaussian estimate, bits, and flags, by estimator'}")
    for name in CASES:
        found: dict[str, list] = {}
        bounds = []
        for seed in range(seeds):
            (case,) = planted_cases(rows, (10, 10, 4), seed=seed, names=[name])
            same = {"groups": case.groups, "seed": seed}
            labels = grouped_folds(rows, folds=folds, **same)
            blocks = case.x1, case.x2, case.y
            latents = gaussianize(*blocks, folds=labels, config=config, **same)
            inputs = {
                "gaussian": blocks,
                "copula": tuple(map(normal_scores, blocks)),
                "flow": (latents.z1, latents.z2, latents.y),
            }
            bound = critic_information(inputs["gaussian"], inputs["flow"], folds=labels, **same)
            bounds.append(bound.bits)
            for estimator, rows_of in inputs.items():
                found.setdefault(estimator, []).append(missed_information(*rows_of, bound=bound.rows))
        each = [
            f"{estimator} {min(f.gaussian_bits for f in drawn):.2f} to {max(f.gaussian_bits for f in drawn):.2f}, "
            f"{sum(f.flag for f in drawn)}/{seeds}"
            for estimator, drawn in found.items()
        ]
        print(
            f"{name:10}{case.information:6.2f}  {min(bounds):.2f} to {max(bounds):.2f}      {'   '.join(each)}",
            flush=True,
        )


def zuko_latents(
    blocks: list[np.ndarray], labels: np.ndarray, seed: int, *, together: bool
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Held-out ``(rows, blocks)`` of each fold; `together` is our loss, otherwise each block has its own likelihood."""
    columns = [torch.from_numpy((block - block.mean(axis=0)) / block.std(axis=0)).float() for block in blocks]
    out = []
    for k in range(labels.max() + 1):
        train, aside = (torch.from_numpy(mask) for mask in held_out_split(labels != k, None, fraction=0.15, seed=seed))
        torch.manual_seed(seed)
        flows = [zuko.flows.NSF(x.shape[1], 0, transforms=3, hidden_features=(32, 32)) for x in columns]
        parameters = [p for flow in flows for p in flow.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=3e-3)

        def loss(rows: torch.Tensor, flows: list = flows) -> torch.Tensor:
            z, volume = zip(
                *(flow().transform.call_and_ladj(x[rows]) for flow, x in zip(flows, columns, strict=True)), strict=True
            )
            if not together:
                return sum(0.5 * part.square().sum(dim=1).mean() for part in z) - sum(volume).mean()
            covariance = torch.cov(torch.cat(z, dim=1).T) + 1e-6 * torch.eye(sum(x.shape[1] for x in columns))
            return 0.5 * torch.logdet(covariance) - sum(volume).mean()

        best, stale, kept = float("inf"), 0, None
        for step in range(400):
            batch = train.nonzero()[:, 0]
            batch = batch[torch.randperm(len(batch))[:256]]
            optimizer.zero_grad()
            loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if step % 10 == 9:
                with torch.no_grad():
                    value = loss(aside.nonzero()[:, 0]).item()
                better = value < best
                best, stale = min(best, value), 0 if better else stale + 1
                if better:
                    kept = [{n: v.clone() for n, v in flow.state_dict().items()} for flow in flows]
                if stale == 4:
                    break
        for flow, state in zip(flows, kept, strict=True):
            flow.load_state_dict(state)
        rows = np.flatnonzero(labels == k)
        with torch.no_grad():
            out.append((rows, [f().transform(x[rows]).double().numpy() for f, x in zip(flows, columns, strict=True)]))
    return out


def bench_choices(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    """Mean absolute error in nats over `PROBLEMS` at n = 2000, and what is found in noise at n = 900 in bits."""

    def ours(changed: FlowConfig) -> Callable:
        def estimate(blocks: list[np.ndarray], labels: np.ndarray, seed: int) -> float:
            found = gaussianize(*blocks, folds=labels, seed=seed, config=changed)
            return corrected_nats(found.z1, found.z2, found.y)

        return estimate

    def library(*, together: bool) -> Callable:
        def estimate(blocks: list[np.ndarray], labels: np.ndarray, seed: int) -> float:
            return float(
                np.mean([corrected_nats(*z) for _, z in zuko_latents(blocks, labels, seed, together=together)])
            )

        return estimate

    changes = [{}, {"stages": 1}, {"stages": 2}, {"stages": 5}, {"bins": 4}, {"bins": 12}, {"marginals": "standardise"}]
    changes += [{"bend_penalty": 0.0, "mix_penalty": 0.0}, {"learning_rate": 0.01}, {"max_steps": 60}]
    changes += [{"max_steps": 200}, {"max_steps": 400}, {"temperature": 0.0}, {"gradient_floor": 1e-8}]
    entries = {
        ", ".join(f"{name}={value}" for name, value in change.items()) or "default": ours(
            config.model_copy(update=change)
        )
        for change in changes
    }
    entries["maps=zuko-nsf"] = ours(FlowConfig(maps="zuko-nsf"))
    entries["zuko NSF, together"] = library(together=True)
    entries["zuko NSF, each block apart"] = library(together=False)
    print(f"{'':34}{'mean |error|, nats':>20}{'largest':>9}{'noise, bits':>13}{'seconds':>9}")
    for name, estimate in entries.items():
        start, errors, noise = time.process_time(), [], []
        for seed in range(seeds):
            for problem in PROBLEMS:
                _, after = problem.draw(rows, seed)
                errors.append(abs(estimate(after, np.arange(rows) % folds, seed) - problem.truth()))
            blocks = [np.random.default_rng([seed, b]).standard_normal((900, 10)) for b in range(3)]
            noise.append(estimate(blocks, np.arange(900) % folds, seed) / LN2)
        print(
            f"{name:34}{np.mean(errors):20.3f}{np.max(errors):9.3f}{max(noise, key=abs):+13.3f}"
            f"{(time.process_time() - start) / seeds:9.1f}",
            flush=True,
        )


def bench_rounding(rows: int, seeds: int, folds: int, config: FlowConfig) -> None:
    """Largest move of an atom of each cell, bits, from one way to compute the same estimate to another."""
    images = np.arange(rows) // 3
    labels = grouped_folds(rows, folds=folds, groups=images, seed=0)
    moved: dict[str, list[np.ndarray]] = {}
    errors, shares, seconds = [], [], 0.0

    def found(cells: list[list[np.ndarray]], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The four atoms and their stated errors, ``(cells, 4)`` each, and I12 beside them in the fifth column."""
        columns = ([blocks[part] for blocks in cells] for part in range(3))
        flows = gaussianize_layers(*columns, folds=labels, groups=images, seed=seed, config=config)
        each = [
            estimate_pid_from_latents(f.z1, f.z2, f.y, groups=images, definitions=("broja",))["broja"] for f in flows
        ]
        names = (*QUANTITIES[:4], "mi_12")
        return tuple(np.array([[get(e, name) for name in names] for e in each]) for get in (getattr, _stated_error))

    for draw in range(2):
        sets = planted_sets(rows, draw)
        cells, rng = [cell.blocks for cell in sets], np.random.default_rng(draw)
        start = time.process_time()
        base, stated = found(cells)
        seconds += time.process_time() - start
        near = [[x * (1 + 1e-8 * rng.standard_normal(x.shape)) for x in blocks] for blocks in cells]
        wider = [np.hstack([cells[1][0], rng.standard_normal((rows, 3))]), *cells[1][1:]]
        others = {"input times 1 + 1e-8 N(0, 1)": found(near)[0], "half of the layers and a wider one": None}
        others["half of the layers and a wider one"] = found([*cells[::2], wider])[0][:-1]
        torch.set_num_threads(2)
        others["two threads"] = found(cells)[0]
        torch.set_num_threads(1)
        for name, atoms in others.items():
            kept = base[::2] if len(atoms) < len(base) else base
            moved.setdefault(name, []).append(np.abs(atoms - kept)[:, :4].max(axis=1))
        starts = np.array([base, *(found(cells, seed)[0] for seed in range(1, seeds))])
        if seeds > 1:
            shares.append(starts.std(axis=0, ddof=1)[:, :4] / np.maximum(stated[:, :4], 1e-3))
            moved.setdefault("standard deviation over seeds", []).append(starts.std(axis=0, ddof=1)[:, :4].max(axis=1))
        truth = np.array([cell.truth for cell in sets])
        known = truth[:, JOINT] > 0.1
        errors.append((base[:, 4] / np.where(known, truth[:, JOINT], 1) - 1)[known])
    for name, largest in moved.items():
        values = np.concatenate(largest)
        print(
            f"{name:36} median {np.median(values):.4f}, largest {values.max():.4f} bit, "
            f"within 0.02: {(values <= 0.02).sum()} of {len(values)}"
        )
    if shares:
        ratio = np.concatenate(shares)
        print(f"over seeds / stated error: median {np.median(ratio):.2f}, at most 1 in {(ratio <= 1).mean():.0%}")
    print(f"joint information {np.median(np.concatenate(errors)):+.1%} in the median; {seconds:.1f} s for 66 flows")


def _stated_error(estimate: object, name: str) -> float:
    return estimate.se[name]


BENCHES = {
    "rounding": bench_rounding,
    "truth": bench_truth,
    "null": bench_null,
    "unit": bench_unit,
    "stack": bench_stack,
    "critic": bench_critic,
    "flags": bench_flags,
    "choices": bench_choices,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=BENCHES)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument(
        "--config", nargs="*", default=[], metavar="FIELD=NUMBER", help="fields of FlowConfig to change"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    changes = {name: float(v) if "." in v else int(v) for name, v in (item.split("=") for item in args.config)}
    rows = args.rows or (2000 if args.what in ("truth", "choices") else 900)
    BENCHES[args.what](rows, args.seeds, args.folds, FlowConfig(**changes))

"""Networks that give a coupling of two sources, and how they are trained: the part of BATCH that learns."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from pidflow import arrays
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.sinkhorn import feasible, information, scaled, slope

# Largest log-weight of a coupling before scaling. e^6 against e^-6 is as good as never; more only slows scaling down.
SHARPEST = 6.0
# Scaling in training stops at this error of a marginal entry, in units of a row's mass, or after so many iterations: a
# coupling lives for one step here.
TRAINING_TOLERANCE, TRAINING_ITERATIONS = 1e-4, 200


class Networks(nn.Module):
    """Log-weights of a coupling: inner products of an embedding of each row of source 1 and of source 2 per label."""

    def __init__(
        self, x1: np.ndarray, x2: np.ndarray, given: list[np.ndarray], *, hidden: int, rank: int, seed: int
    ) -> None:
        super().__init__()
        self.labels, self.rank = given[0].shape[1], rank
        self.inputs = [features(x, p) for x, p in ((x1, given[0]), (x2, given[1]))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.sides = nn.ModuleList(
                nn.Sequential(nn.Linear(x.shape[1], hidden), nn.GELU(), nn.Linear(hidden, self.labels * rank)).double()
                for x in self.inputs
            )

    def forward(self, rows: np.ndarray) -> Tensor:
        """Log-weights of these rows against each other, shape ``(ky, len(rows), len(rows))``."""
        one, two = (
            side(x[torch.from_numpy(rows)]).reshape(len(rows), self.labels, self.rank).transpose(0, 1)
            for side, x in zip(self.sides, self.inputs, strict=True)
        )
        return SHARPEST * torch.tanh(one @ two.transpose(1, 2) / SHARPEST)


def features(x: np.ndarray, p: np.ndarray) -> Tensor:
    """Rows beside what they say about the label, each column standardised.

    Also the log-probabilities: a label that nobody predicts would be a constant far from zero, which saturates the
    hidden units before training begins.
    """
    columns = np.concatenate([x, np.log(np.maximum(p, 1e-6))], axis=1)
    varies = ~arrays.constant_columns(columns)
    centred = np.where(varies, columns - columns.mean(axis=0), 0.0)
    return torch.from_numpy(centred / np.where(varies, centred.std(axis=0), 1.0))


def marginals_of(given: list[np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Feasible marginals ``(ky, m)`` of both sources for these rows; their label frequencies are those of the joint
    predictions of the same rows."""
    target = given[2][rows].mean(axis=0)
    return tuple(np.ascontiguousarray(feasible(p[rows], target).T) / len(rows) for p in given[:2])


def train(
    networks: Networks,
    given: list[np.ndarray],
    training: np.ndarray,
    held_out: np.ndarray,
    *,
    rng: np.random.Generator,
    batch_size: int,
    learning_rate: float,
    max_steps: int,
    evaluate_every: int,
    patience: int,
    min_gain: float,
) -> tuple[np.ndarray, int, bool]:
    """Fit the networks and keep the weights that were best on held-out rows: the held-out bits, steps, and whether
    patience ended the training."""
    optimizer = torch.optim.Adam(networks.parameters(), lr=learning_rate)
    held_out = held_out[: 4 * batch_size]
    marginals = marginals_of(given, held_out)
    curve = [union_of(networks, held_out, marginals)]
    best, kept, waited = curve[0], _copied(networks), 0
    for step, rows in zip(range(1, max_steps + 1), _batches(training, batch_size, rng), strict=False):
        here = marginals_of(given, rows)
        log_weights = networks(rows)
        coupling, _ = scaled(
            np.exp(log_weights.detach().numpy()),
            *here,
            tolerance=TRAINING_TOLERANCE,
            max_iterations=TRAINING_ITERATIONS,
        )
        direction = slope(coupling, information(coupling)[1], *here)
        optimizer.zero_grad()
        log_weights.backward(torch.from_numpy(direction))
        optimizer.step()
        if step % evaluate_every:
            continue
        curve.append(union_of(networks, held_out, marginals))
        waited = 0 if curve[-1] < best - min_gain else waited + 1
        if curve[-1] < best:
            best, kept = curve[-1], _copied(networks)
        if waited == patience:
            break
    networks.load_state_dict(kept)
    return np.array(curve) / LN2, step, waited == patience


def _copied(networks: Networks) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in networks.state_dict().items()}


def union_of(networks: Networks, rows: np.ndarray, marginals: tuple[np.ndarray, np.ndarray]) -> float:
    """Information in nats of the coupling of these rows."""
    with torch.no_grad():
        weights = np.exp(networks(rows).numpy())
    coupling, _ = scaled(weights, *marginals, tolerance=TRAINING_TOLERANCE, max_iterations=TRAINING_ITERATIONS)
    return information(coupling)[0]


def _batches(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches of nearly equal size, every row once in each round."""
    while True:
        yield from np.array_split(rng.permutation(rows), max(1, round(len(rows) / size)))

r"""The estimate of OpenReview 6WsBGk4Iag with its own settings, for comparison; :mod:`pidflow.spectrum.decompose`
repairs it.

Two small networks embed every question once for each label, from the mean embedding of its image tokens and of its
words. Embeddings, standardised over their coordinates, give ``exp(<q1, q2> / sqrt(10))`` for each pair of questions in
a batch; Sinkhorn scaling, at most 500 rounds or until no marginal is off by more than 0.01, makes row and column sums
the predictions ``p(y | x1)`` and ``p(y | x2)``. The loss is the information of the coupling about the label. Networks
learn on the training part for 8 epochs; results are means over whole batches of the other part, informations are taken
against the label frequencies of the **training** part, and atoms below zero are set to zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pidflow.errors import DataError
from pidflow.groups import grouped_folds
from pidflow.names import ATOMS, QUANTITIES
from pidflow.spectrum.decompose import GROUPS, Found, PredictedRows, quantities

BATCH, HIDDEN, EMBEDDING, EPOCHS, LEARNING_RATE = 256, 32, 10, 8, 1e-3
SINKHORN_ROUNDS, SINKHORN_TOLERANCE = 500, 0.01
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the questions, training or other: predictions, and the sources that the networks see.

    Attributes
    ----------
    rows
        Predictions of n questions.
    vision, language
        Mean embeddings ``(n, d)``, ``(n, e)``.
    """

    rows: PredictedRows
    vision: np.ndarray = field(repr=False)
    language: np.ndarray = field(repr=False)


def decompose_published(training: Part, held_out: Part, *, seed: int = 0, batch: int = BATCH) -> Found:
    """The published estimate; bits are clipped at zero, so atoms need not add up.

    Parameters
    ----------
    training, held_out
        Where networks and label frequencies come from, and where results are taken.
    seed
        Of networks and batches.
    batch
        Questions coupled at once.

    Returns
    -------
    Found
        ``raw`` holds the informations before clipping; ``gap_bits`` is NaN, the estimate proves nothing. Replicates are
        evaluations without each group of images, in batches that are smaller by the same share; the networks stay.

    Raises
    ------
    DataError
        When a part has fewer questions than a batch: the last batch is dropped, and it would be the only one.
    """
    import torch

    for name, part in (("training", training), ("other", held_out)):
        if len(part.rows) < batch:
            raise DataError(
                f"the published estimate needs {batch} questions or more in the {name} part, found {len(part.rows)}: "
                "it drops a batch that is not full; raise items"
            )
    frequencies = torch.from_numpy(training.rows.joint.mean(axis=0).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = _networks(training.vision.shape[1], training.language.shape[1], len(frequencies))
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam([p for each in networks for p in each.parameters()], lr=LEARNING_RATE)
    tensors = _tensors(training)
    for _ in range(EPOCHS):
        for rows in _whole_batches(rng.permutation(len(training.rows)), batch):
            loss = _coupled_information(networks, [each[rows] for each in tensors[:4]], frequencies)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    values = _evaluate(networks, held_out, frequencies, np.arange(len(held_out.rows)), batch)
    count = min(GROUPS, len(np.unique(held_out.rows.images)))
    groups = grouped_folds(len(held_out.rows), folds=count, groups=held_out.rows.images, seed=seed)
    fewer = int(batch * (1 - 1 / count))
    kept = [np.flatnonzero(groups != group) for group in range(count)]
    replicates = [_evaluate(networks, held_out, frequencies, rows, min(fewer, len(rows))) for rows in kept]
    informations = ("mi_vision", "mi_language", "mi_joint")
    return Found(
        bits=_clipped(values),
        replicates={name: np.array([_clipped(each)[name] for each in replicates]) for name in QUANTITIES},
        entropy=float(-(frequencies * (frequencies + _TINY).log2()).sum()),
        gap_bits=float("nan"),
        raw={name: values[name] for name in informations},
    )


def _networks(vision: int, language: int, labels: int) -> list:
    from torch import nn

    return [
        nn.Sequential(
            *(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()),
            nn.Linear(HIDDEN, EMBEDDING * labels),
            nn.Unflatten(1, (labels, EMBEDDING)),
        )
        for width in (vision, language)
    ]


def _tensors(part: Part) -> list:
    """Vision, language, and the predictions from each and from both."""
    import torch

    arrays = part.vision, part.language, part.rows.vision, part.rows.language, part.rows.joint
    return [torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in arrays]


def _whole_batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(order) - size + 1, size):
        yield order[first : first + size]


def _coupled_information(networks: list, batch: list, frequencies):
    """Bits that the coupling of a batch has about the label, measured against `frequencies`."""
    vision, language, of_vision, of_language = batch
    one, two = (_standardised(network(x)) for network, x in zip(networks, (vision, language), strict=True))
    weights = (one.transpose(0, 1) @ two.permute(1, 2, 0) / EMBEDDING**0.5).exp()
    coupling = _scaled(weights, of_vision.T, of_language.T)
    cell = coupling.sum(0)
    posterior = coupling / (cell + _TINY)
    return (coupling * ((posterior + _TINY) / (frequencies[:, None, None] + _TINY)).log2()).sum() / cell.sum()


def _standardised(embedding):
    """Zero mean and unit variance over the coordinates of each question and label."""
    centred = embedding - embedding.mean(-1, keepdim=True)
    return centred / (centred.var(-1, keepdim=True) + 1e-8).sqrt()


def _scaled(weights, of_vision, of_language):
    """Sinkhorn as published: row sums ``p(y | x1)``, column sums ``p(y | x2)``, loosely.

    Kept as factors of rows and columns, so that its gradient needs no copy of the weights a round.
    """
    left = of_vision.new_ones(of_vision.shape)
    for _ in range(SINKHORN_ROUNDS):
        right = of_language / ((left[:, None, :] @ weights)[:, 0] + _TINY)
        summed = (weights @ right[:, :, None])[:, :, 0]
        if (left * summed - of_vision).abs().max() <= SINKHORN_TOLERANCE:
            break
        left = of_vision / (summed + _TINY)
        columns = right * (left[:, None, :] @ weights)[:, 0]
        if (columns - of_language).abs().max() <= SINKHORN_TOLERANCE:
            break
    return left[:, :, None] * weights * right[:, None, :]


def _evaluate(networks: list, part: Part, frequencies, rows: np.ndarray, batch: int) -> dict[str, float]:
    """Means over whole batches, not clipped."""
    import torch

    tensors, found = _tensors(part), []
    with torch.no_grad():
        for chosen in _whole_batches(rows, batch):
            of_batch = [each[chosen] for each in tensors]
            union = float(_coupled_information(networks, of_batch[:4], frequencies))
            informations = [
                float((p * ((p + _TINY) / (frequencies + _TINY)).log2()).sum(1).mean()) for p in of_batch[2:]
            ]
            found.append(quantities(*informations, union))
    return {name: float(np.mean([each[name] for each in found])) for name in QUANTITIES}


def _clipped(values: dict[str, float]) -> dict[str, float]:
    return values | {atom: max(values[atom], 0.0) for atom in ATOMS}

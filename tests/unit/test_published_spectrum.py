"""Mode ``published`` against a transcription of the published settings, written here from their description."""

import math

import numpy as np
import pytest
import torch

from pidflow.errors import DataError
from pidflow.names import ATOMS
from pidflow.spectrum import published
from pidflow.spectrum.decompose import PredictedRows
from pidflow.spectrum.published import Part, decompose_published

SEEDS = range(3)


class Embedder(torch.nn.Module):
    """Three layers, hidden 32, ReLU; an embedding of 10 numbers for each label."""

    def __init__(self, width, labels):
        super().__init__()
        self.first, self.second = torch.nn.Linear(width, 32), torch.nn.Linear(32, 32)
        self.heads = torch.nn.ModuleList(torch.nn.Linear(32, 10) for _ in range(labels))

    def forward(self, x):
        hidden = torch.relu(self.second(torch.relu(self.first(x))))
        out = []
        for head in self.heads:
            embedding = head(hidden)
            mean, spread = embedding.mean(1, keepdim=True), embedding.std(1, keepdim=True)
            out.append((embedding - mean) / spread)
        return out


def one_batch(networks, x1, x2, p1, p2, frequencies, rounds):
    """Bits that the coupling of a batch has about the label, one label's table after the other."""
    tables = []
    for label, (q1, q2) in enumerate(zip(networks[0](x1), networks[1](x2), strict=True)):
        table = torch.exp(q1 @ q2.T / math.sqrt(10))
        for _ in range(rounds):
            table = table * (p2[:, label] / table.sum(0))
            if torch.allclose(table.sum(1), p1[:, label], rtol=0, atol=0.01):
                break
            table = table * (p1[:, label] / table.sum(1))[:, None]
            if torch.allclose(table.sum(0), p2[:, label], rtol=0, atol=0.01):
                break
        tables.append(table)
    joint = torch.stack(tables, 2) / sum(table.sum() for table in tables)
    conditional = joint / joint.sum(2, keepdim=True)
    return (joint * torch.log2(conditional / frequencies)).sum()


def transcribed(training, other, seed, rounds=500):
    torch.manual_seed(seed)
    sources = [[torch.tensor(x, dtype=torch.float32) for x in each] for each in (training, other)]
    frequencies = sources[0][4].mean(0)
    networks = [Embedder(sources[0][i].shape[1], len(frequencies)) for i in (0, 1)]
    adam = torch.optim.Adam([p for each in networks for p in each.parameters()], lr=1e-3)
    for _ in range(8):
        for batch in torch.randperm(len(sources[0][0])).split(256):
            if len(batch) == 256:
                adam.zero_grad()
                one_batch(networks, *(x[batch] for x in sources[0][:4]), frequencies, rounds).backward()
                adam.step()
    found = []
    for batch in torch.arange(len(sources[1][0])).split(256):
        if len(batch) < 256:
            continue
        x1, x2, p1, p2, p12 = (x[batch] for x in sources[1])
        with torch.no_grad():
            union = one_batch(networks, x1, x2, p1, p2, frequencies, rounds).item()
        i1, i2, i12 = ((p * torch.log2(p / frequencies)).sum(1).mean().item() for p in (p1, p2, p12))
        found.append([i1 + i2 - union, union - i2, union - i1, i12 - union])
    return np.maximum(np.mean(found, 0), 0)


def parts(labels, *, seed, n=820, strength=0.6):
    """Sources that tell a label softly, apart and together; the first 520 rows train."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.standard_normal((2, n, 6))
    w = rng.standard_normal((2, 6, labels))
    one, two = strength * x1 @ w[0] / 2, strength * x2 @ w[1] / 2
    together = one + two + strength * (x1[:, :1] * x2[:, :1]) * np.linspace(-1, 1, labels)
    p1, p2, p12 = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (one, two, together))
    return [[each[rows] for each in (x1, x2, p1, p2, p12)] for rows in (slice(0, 520), slice(520, n))]


def part(x1, x2, p1, p2, p12):
    return Part(PredictedRows(p1, p2, p12, np.arange(len(p1))), x1, x2)


@pytest.mark.parametrize(
    ("labels", "rounds"),
    [(2, 30), pytest.param(2, 500, marks=pytest.mark.slow), pytest.param(3, 500, marks=pytest.mark.slow)],
)
def test_published_mode_is_the_transcription_within_its_seed_noise(labels, rounds, monkeypatch):
    """Predictions that no coupling keeps, as real ones: scaling runs all its rounds, so the quick case has fewer."""
    assert published.SINKHORN_ROUNDS == 500
    monkeypatch.setattr(published, "SINKHORN_ROUNDS", rounds)
    monkeypatch.setattr(published, "GROUPS", 2)
    training, other = parts(labels, seed=labels)
    ours = np.array(
        [[decompose_published(part(*training), part(*other), seed=s).bits[a] for a in ATOMS] for s in SEEDS]
    )
    theirs = np.array([transcribed(training, other, s, rounds) for s in SEEDS])
    noise = np.sqrt((ours.var(0, ddof=1) + theirs.var(0, ddof=1)) / len(SEEDS))
    print(ours.mean(0), theirs.mean(0), noise)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) <= 3.2 * noise + 2e-3).all()
    assert theirs.mean(0).max() > 10 * noise.max()  # the comparison could have failed


def test_constant_predictions_read_as_information(monkeypatch):
    """The offset that the repaired mode reports: nothing is known, and half a bit is found."""
    monkeypatch.setattr(published, "SINKHORN_ROUNDS", 5)
    training, other = parts(2, seed=0)
    constant = [np.tile([0.9, 0.1], (len(each[0]), 1)) for each in (training, other)]
    even = [np.tile([0.5, 0.5], (len(each[0]), 1)) for each in (training, other)]
    given = [[*each[:2], c, c, e] for each, c, e in zip((training, other), constant, even, strict=True)]
    found = decompose_published(part(*given[0]), part(*given[1]))
    assert found.raw["mi_vision"] == pytest.approx(0.531, abs=1e-3)


def test_it_drops_batches_and_says_when_none_is_left(monkeypatch):
    monkeypatch.setattr(published, "SINKHORN_ROUNDS", 5)
    monkeypatch.setattr(published, "GROUPS", 2)
    training, other = parts(2, seed=0)
    assert decompose_published(part(*training), part(*(x[:300] for x in other))).bits == pytest.approx(
        decompose_published(part(*training), part(*(x[:256] for x in other))).bits
    )
    with pytest.raises(DataError, match="256 questions or more in the other part, found 255"):
        decompose_published(part(*training), part(*(x[:255] for x in other)))
    with pytest.raises(DataError, match="in the training part, found 0"):
        decompose_published(part(*(x[:0] for x in training)), part(*other))

"""How far noise lies from what it stands in for: lengths, distance to the nearest real token, whether one can tell.

Noise with the right mean and deviation in each dimension may still lie where no real token ever does; what a model
makes of it is then its answer to an input from nowhere, not to a missing one.
"""

from dataclasses import dataclass

import numpy as np

from pidflow.spectrum.replacements import PartStatistics, generator

# Tokens of each kind that are compared.
MOST = 1500
_HIDDEN, _ITERATIONS = 64, 60


@dataclass(frozen=True)
class NoiseCheck:
    """Real tokens of a part against as many of noise.

    Attributes
    ----------
    part
        Of the input.
    tokens
        How many of each were compared.
    norm_real, norm_noise
        Median length.
    norm_spread_real, norm_spread_noise
        Distance between the quartiles of the lengths.
    nearest_real
        Median distance of a real token to the nearest one of another question.
    nearest_noise
        Median distance of a noise token to the nearest real one.
    accuracy
        Share of held-out tokens that a small network sorts correctly into real and noise; 0.5 is chance. The real ones
        it is tested on are of other questions than those it learnt from. NaN of fewer than two questions.
    """

    part: str
    tokens: int
    norm_real: float
    norm_noise: float
    norm_spread_real: float
    norm_spread_noise: float
    nearest_real: float
    nearest_noise: float
    accuracy: float


def check_noise(
    part: str, real: np.ndarray, groups: np.ndarray, statistics: PartStatistics, *, seed: int = 0
) -> NoiseCheck:
    """Compare real tokens ``(N, d)``, with the question that each belongs to ``(N,)``, with noise made for them."""
    rng = generator(seed, "noise check", part)
    chosen = np.sort(rng.permutation(len(real))[:MOST])
    real, groups = real[chosen].astype(np.float64), np.asarray(groups)[chosen]
    noise = statistics.mean + statistics.deviation * rng.standard_normal(real.shape)
    lengths = [np.linalg.norm(tokens, axis=1) for tokens in (real, noise)]
    spreads = [float(np.subtract(*np.percentile(each, [75, 25]))) for each in lengths]
    same = groups[:, None] == groups[None]
    between = np.where(same, np.inf, _distances(real, real)).min(1)
    return NoiseCheck(
        part=part,
        tokens=len(real),
        norm_real=float(np.median(lengths[0])),
        norm_noise=float(np.median(lengths[1])),
        norm_spread_real=spreads[0],
        norm_spread_noise=spreads[1],
        nearest_real=float(np.median(between[np.isfinite(between)])) if np.isfinite(between).any() else float("nan"),
        nearest_noise=float(np.median(_distances(noise, real).min(1))),
        accuracy=_told_apart(real, noise, groups, rng),
    )


def _distances(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    from sklearn.metrics import euclidean_distances

    return euclidean_distances(one, two)


def _told_apart(real: np.ndarray, noise: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> float:
    """Accuracy of a network that learns on the tokens of one half of the questions, tested on the other half."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    names = rng.permutation(np.unique(groups))
    if len(names) < 2:
        return float("nan")
    learn = np.isin(groups, names[: len(names) // 2])
    scaler = StandardScaler().fit(np.concatenate([real[learn], noise[learn]]))
    network = MLPClassifier((_HIDDEN,), max_iter=_ITERATIONS, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # how far it comes in so many rounds is the measure
        network.fit(scaler.transform(np.concatenate([real[learn], noise[learn]])), np.repeat([1, 0], int(learn.sum())))
    scores = [
        (network.predict(scaler.transform(tokens[~learn])) == is_real).mean()
        for tokens, is_real in ((real, 1), (noise, 0))
    ]
    return float(np.mean(scores))

"""What the training data of the zoo tell, and what answerers who see equally well would say after each of them.

    python tests/benchmarks/study_zoo.py
    snakemake spectrum --cores 2 --configfile config/zoo.yaml
    python tests/benchmarks/study_zoo.py results    # what the models of that run say, too

First, for each language prior, the information in the questions of choose-attr as training asks them, beside which two
answers are offered: what the words tell, and what only the picture adds, which always tells.

Then two ideal answerers on scenes without a prior. Both know how often each answer was right to these words in
training. One sees the object in a share of the pictures and nothing in the others; the other has Gaussian evidence of
one strength in each picture. Share and strength are such that the answerer who was taught without a prior is right as
often as `zoo-prior-00` (0.81), and stay: whoever was taught another prior sees no better or worse. `beyond` is what the
picture adds to the words in what is said, vision-unique and synergistic bits together.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from pidflow.data import scenes
from pidflow.files.store import Identity, read_json
from pidflow.spectrum.modes import COUPLING
from pidflow.spectrum.predictions_file import read_predictions
from pidflow.spectrum.records import from_json
from pidflow.spectrum.scores import scored
from pidflow.spectrum.words import JOINT

PRIORS = (0.0, 0.25, 0.5, 0.8, 1.0)
RIGHT = 0.81
TASK = "choose-attr"
SURE = 0.95


def asked(prior, n):
    """How often n questions, asked as in training, are these words (shape, two answers) with this answer."""
    rng, counts = np.random.default_rng(0), Counter()
    while counts.total() < n:
        scene = scenes.sample_scene(rng, language_prior=prior)
        wanted = str(rng.choice(scenes.answers(TASK)))
        question = scenes.ask(scene, TASK, rng, answer=wanted) or scenes.ask(scene, TASK, rng)
        counts[question.objects[0], tuple(sorted(question.options)), question.answer] += 1
    return counts


def coin(p):
    """Entropy in bits of a coin."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


class Questions:
    """All words that are asked: weights, the offer of each, and how likely its first answer is after some training."""

    def __init__(self, counts):
        self.keys = sorted({(shape, pair) for shape, pair, _ in counts})
        self.weights = np.array([sum(counts[*key, answer] for answer in key[1]) for key in self.keys], dtype=float)
        self.offers = np.unique([" ".join(pair) for _, pair in self.keys], return_inverse=True)[1]

    def likely(self, counts):
        """Share of the first answer by words, a half where they were never asked."""
        first, both = (
            np.array([sum(counts[*key, answer] for answer in key[1][:n]) for key in self.keys], dtype=float)
            for n in (1, 2)
        )
        return (first + 0.5) / (both + 1)

    def information(self, p, left):
        """What words tell about the first answer beside the offer, and what is left, `left` of it unexplained."""
        of_offer = np.bincount(self.offers, self.weights * p) / np.bincount(self.offers, self.weights)
        mean = np.average([coin(of_offer[self.offers]) - coin(p), coin(p) - left], axis=1, weights=self.weights)
        return mean.tolist()


def clear(strength, believed):
    """Predictions of the first answer where it is right, ``(cases, words)``, and how often each case comes up."""
    return np.stack([np.ones_like(believed), believed]), np.array([strength, 1 - strength])


def graded(strength, believed):
    """The same of Gaussian evidence: log-odds of this mean and twice that variance."""
    at = ndtri((np.arange(400) + 0.5) / 400)
    odds = strength + np.sqrt(2 * strength) * at[:, None] + np.log(believed / (1 - believed))
    return 1 / (1 + np.exp(-odds)), np.full(len(at), 1 / len(at))


def on_even_scenes(kind, strength, believed, questions):
    """Accuracy, bits that the words tell of what is said, and bits that the picture adds to them."""
    first, chance = kind(strength, believed)
    second = 1 - kind(strength, 1 - believed)[0]  # where the other answer is right
    right = 0.5 * chance @ (1 + 0.5 * np.sign(np.round(first - 0.5, 9)) - 0.5 * np.sign(np.round(second - 0.5, 9)))
    by_words = 0.5 * chance @ (first + second)
    words, beyond = questions.information(by_words, 0.5 * chance @ (coin(first) + coin(second)))
    return float(np.average(right, weights=questions.weights)), words, beyond


def fitted(kind, questions):
    """The strength at which an answerer without a prior is right as often as RIGHT."""
    low, high = 0.0, 1.0 if kind is clear else 30.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = on_even_scenes(kind, middle, np.full(len(questions.keys), 0.5), questions)[0] >= RIGHT
        low, high = (low, middle) if enough else (middle, high)
    return high


def said(folder):
    """Of each model of a run: what it says beyond the words, and how often it is surer than SURE."""
    print(f"\n{'model':16}right  words  beyond  surer than {SURE}")
    for path in sorted(folder.glob(f"spectrum/*/{TASK}.json")):
        model = path.parent.name
        found = from_json(read_json(path, expected=Identity(model=model, task=TASK)), where=str(path))
        bits = next(each.bits for each in found.spectra if each.method == COUPLING)
        predictions = read_predictions(folder / "predictions" / model / f"{TASK}.h5")
        sure = (scored(predictions, JOINT).probabilities.max(axis=1) > SURE).mean()
        right = next(each.right[0] for each in found.passes if each.key == JOINT)
        beyond = bits["unique_vision"] + bits["synergy"]
        print(f"{model:16}{right:5.2f}  {bits['unique_language']:5.2f}  {beyond:6.2f}  {sure:10.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, help="folder of a run of config/zoo.yaml")
    parser.add_argument("--questions", type=int, default=40_000)
    given = parser.parse_args()
    counts = {prior: asked(prior, given.questions) for prior in PRIORS}
    even = Questions(counts[0.0])
    strengths = {kind: fitted(kind, even) for kind in (clear, graded)}
    print("bits          in training          clear evidence          graded evidence")
    print("prior      words   picture      right  words  beyond     right  words  beyond")
    for prior, of_prior in counts.items():
        own = Questions(of_prior)
        line = [f"{prior:5.2f}    {{:6.2f}}  {{:6.2f}} ".format(*own.information(own.likely(of_prior), 0.0))]
        for kind, strength in strengths.items():
            found = on_even_scenes(kind, strength, even.likely(of_prior), even)
            line.append("   ".join(f"{value:5.2f}" for value in found))
        print("      ".join(line))
    if given.results is not None:
        said(given.results)


if __name__ == "__main__":
    main()

"""Made-up predictions whose spectrum is known: what the picture says, what the question says, what is answered.

Each question carries a sign in its picture and a sign in its words, both fair coins. The answer of a system follows
from them: ``synergy`` (whether they differ), ``vision`` (the picture's), ``language`` (the words'), ``redundancy`` (the
two are the same coin, and the answer is it), ``and``. A pass that lacks one of the signs predicts what is left to know.
"""

import numpy as np

from pidflow.spectrum.predictions import Pass, Predictions, pass_key
from pidflow.spectrum.words import (
    JOINT,
    LANGUAGE_ONLY,
    NO_IMAGE,
    NOISE,
    OPTIONS_ONLY,
    QUESTION_MASKED,
    VISION_ONLY,
)

SYSTEMS = {
    "synergy": np.bitwise_xor,
    "vision": lambda picture, words: picture,
    "language": lambda picture, words: words,
    "redundancy": lambda picture, words: picture,
    "and": np.bitwise_and,
}
# Atoms in bits (redundancy, unique to vision, unique to language, synergy) of certain, correct predictions.
TRUTH = {
    "synergy": (0.0, 0.0, 0.0, 1.0),
    "vision": (0.0, 1.0, 0.0, 0.0),
    "language": (0.0, 0.0, 1.0, 0.0),
    "redundancy": (1.0, 0.0, 0.0, 0.0),
    "and": (0.3113, 0.0, 0.0, 0.5),
}
WORDS = ("yes", "no", "left", "right")  # the first K of them
VOCABULARY = 1000
_IDS = np.array([[7], [8], [9], [10]])


def synthetic_predictions(
    n=240,
    *,
    system="synergy",
    options=2,
    draws=3,
    layers=4,
    mass=0.9,
    certainty=0.99,
    width=3,
    per_image=2,
    noise=0.2,
    seed=0,
) -> Predictions:
    """Predictions with all passes (replacement: noise) and a lens in which the answer arises in the upper half.

    Parameters
    ----------
    options
        K; options beyond the second are offered and never right.
    mass
        Option mass of every pass.
    certainty
        Probability of the predicted option among the options, where a pass knows it.
    width
        Of the sources; their first column holds the sign with Gaussian noise of size `noise`.
    per_image
        Questions about each picture, which have its sign.
    """
    rng = np.random.default_rng(seed)
    image = np.arange(n) // per_image
    picture = rng.permutation(np.arange(image.max() + 1) % 2)[image]
    # Each picture is asked about with both signs of words: the two are independent in the sample.
    words = picture if system == "redundancy" else (np.arange(n) + image // 2) % 2
    answer = SYSTEMS[system](picture, words)
    everything = _table(system, picture, words, answer, options, certainty)
    known = {
        pass_key(JOINT): (True, True),
        pass_key(VISION_ONLY, NOISE): (True, False),
        pass_key(LANGUAGE_ONLY, NOISE): (False, True),
        pass_key(QUESTION_MASKED, NOISE): (True, False),
        pass_key(OPTIONS_ONLY, NOISE): (False, False),
        pass_key(NO_IMAGE): (False, True),
    }
    passes = {}
    for key, knows in known.items():
        name, _, replacement = key.partition("/")
        count = draws if replacement else 1
        target = everything[knows]
        jitter = 0.02 * rng.standard_normal((count, n, options)) if replacement else np.zeros((1, n, options))
        logits = np.log(target) + jitter
        begins = logits - np.log(np.exp(logits).sum(2, keepdims=True)) + np.log(mass)
        rise = (np.arange(layers + 1) > layers / 2).astype(float)[None, :, None, None]
        blank = np.full(options, 1 / options)
        lens = np.log(mass * (rise * target + (1 - rise) * blank)) + np.zeros((count, 1, 1, 1))
        passes[key] = Pass(
            name=name,
            replacement=replacement or None,
            begins=begins,
            sequence=begins - 0.1,
            bare=begins - 0.5,
            greedy=_IDS[begins.argmax(2), 0],
            lens={"norm": lens},
        )
    return Predictions(
        item_id=np.array([f"q{row}" for row in range(n)], dtype=object),
        image_id=np.array([f"im{each}" for each in image], dtype=object),
        fold=image % 3,
        training=image % 3 != 0,
        options=(WORDS[:options],) * n,
        answer=answer,
        token_ids=np.tile(_IDS[None, :options], (n, 1, 1)),
        bare_ids=np.tile(_IDS[None, :options, 0], (n, 1)),
        vision=_source(picture, width, noise, rng),
        language=_source(words, width, noise, rng),
        passes=passes,
        vocabulary=VOCABULARY,
        about={"model": "synthetic", "task": system, "seed": seed},
    )


def _table(system, picture, words, answer, options, certainty):
    """Per pair of what is known, the prediction ``(n, K)``: the mean of the answers that agree with it."""
    found = {}
    sure = np.full((2, options), (1 - certainty) / (options - 1))
    sure[[0, 1], [0, 1]] = certainty
    for knows in ((True, True), (True, False), (False, True), (False, False)):
        if knows == (True, True):
            share = answer.astype(float)
        else:
            pairs = [(a, a) if system == "redundancy" else (a, b) for a in (0, 1) for b in (0, 1)]
            share = np.zeros(len(answer))
            for row in range(len(answer)):
                fits = [
                    int(SYSTEMS[system](np.int64(a), np.int64(b)))
                    for a, b in pairs
                    if (not knows[0] or a == picture[row]) and (not knows[1] or b == words[row])
                ]
                share[row] = np.mean(fits)
        found[knows] = (1 - share)[:, None] * sure[0] + share[:, None] * sure[1]
    return found


def _source(sign, width, noise, rng):
    rows = rng.standard_normal((len(sign), width))
    rows[:, 0] = sign + noise * rows[:, 0]
    return rows

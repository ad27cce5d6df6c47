"""What every family must do, executed on a tiny checkpoint that was saved to disk and loaded back."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from tests.captured import on_edge
from tests.tiny_families import QUESTIONS, save

from pidflow.interventions.edges import Edge
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.probes import probes
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.interventions.sweep import measure
from pidflow.models.answers import Expected
from pidflow.models.capture import capture
from pidflow.models.forward import run
from pidflow.models.inputs import Example, encode
from pidflow.models.loading import load
from pidflow.models.readout import logit_lens

SIZES = ((48, 48), (64, 40), (36, 70))  # width and height
EDGES = (Edge("image", "question"), Edge("image", "last"), Edge("question", "last"))


def pictures():
    """One drawn picture of each size."""
    found = []
    for place, size in enumerate(SIZES):
        rng = np.random.default_rng(place)
        image = Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8).repeat(1, 0))
        ImageDraw.Draw(image).rectangle([4, 4, 24, 24], fill=(200, 30, 30))
        found.append(image)
    return found


def examples():
    """One question about each picture."""
    boxes = ((4.0, 4.0, 20.0, 20.0),)
    return [Example(text, options, boxes, name=f"item {i}") for i, (text, options) in enumerate(QUESTIONS)]


def asked_of(loaded, rows=slice(None)):
    """The questions as a batch."""
    return encode(loaded, examples()[rows], pictures()[rows]).to(loaded)


def row_alone(loaded, batch):
    """Largest difference of logits between rows of a padded batch and the same rows fed alone."""
    worst = 0.0
    with torch.inference_mode():
        together = run(loaded, batch.inputs)[:, -1]
        for row in range(len(batch)):
            alone = run(loaded, asked_of(loaded, slice(row, row + 1)).inputs)[:, -1]
            worst = max(worst, float((alone[0] - together[row]).abs().max()))
    return worst


def lens_error(loaded, batch):
    """Largest difference between the lens at the last layer and the model's own probabilities."""
    found = capture(loaded, batch)
    ids = found.logits.argmax(-1)
    own = found.logits.softmax(-1).gather(1, ids[:, None])[:, 0]
    return float((logit_lens(loaded, found.last, ids)[:, -1] - own).abs().max())


def prefix_error(loaded, batch):
    """Largest difference between logits from the prefix and from full passes."""
    plans = [
        (on_edge("image", "question"),),
        (on_edge("image", "last", (1,)),),
        (on_edge("question", "last"),),
        (on_edge("image", "question", (0, 1), "random"),),
    ]
    names = [f"q{row}" for row in range(len(batch))]
    prefix = read_prefix(loaded, batch, plans, names=names, answer_tokens=3)
    worst = 0.0
    for found in recompute(loaded, prefix, plans, names=names):
        for index, logits in zip(found.which, found.logits, strict=True):
            full = full_pass(loaded, prefix, plans[index], names=names)
            worst = max(worst, float((logits - full)[prefix.answer_mask].abs().max()))
    intact = full_pass(loaded, prefix, (), names=names)
    return max(worst, float((intact - prefix.logits)[prefix.answer_mask].abs().max()))


def swept(loaded, batch):
    """A sweep over all edges with random controls."""
    wanted = probes(EDGES, depth=loaded.depth, window=2, controls=["random"])
    expected = [Expected("red", (), "normalised")] * len(batch)
    return measure(
        loaded, batch, wanted, expected=expected, names=[f"q{i}" for i in range(len(batch))], answer_tokens=2
    )


def load_back(tiny, folder, **settings):
    """A tiny checkpoint, written to a folder and loaded as one from the hub is."""
    save(tiny, folder)
    return load(tiny.family, str(folder), prompt=tiny.prompt, dtype="float32", **settings)

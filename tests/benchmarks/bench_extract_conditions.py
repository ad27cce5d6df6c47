"""Extraction of several conditions at once against one plain pass each, on a random LLaVA of 35 + 576 + 30 tokens.

Plain: the intact states captured in one forward, nothing else. Both run in one process on the same questions and
every condition must equal its full pass to 1e-5 of the largest state. The bar: k cuts cost at most 1 + 0.15 k passes.

    python tests/benchmarks/bench_extract_conditions.py        # two minutes on one idle core
"""

import argparse
import statistics

import torch
from bench_sweep import DEPTH, Timer, build, questions

from pidflow.interventions.conditions import passes
from pidflow.interventions.intervention import entered, intervention_of
from pidflow.models import loading
from pidflow.models.capture import capture

# ASSUME: what studies ask for; blind needs its answers alone, but costs the same here.
CONDITIONS = {
    "image->question": {"kind": "cut", "source": "image", "target": "question", "blocks": "all"},
    "the same, upper half": {"kind": "cut", "source": "image", "target": "question", "blocks": [16, 31]},
    "random half": {"kind": "random", "source": "image", "target": "question", "blocks": "all"},
    "image->question only": {"kind": "keep", "source": "image", "target": "question", "blocks": "all"},
    "image->last": {"kind": "cut", "source": "image", "target": "last", "blocks": "all"},
    "blind": {"kind": "cut", "source": "image", "target": "text", "blocks": "all"},
}
BAR = 0.15


def worst_difference(loaded, batch, conditions, names):
    """The largest difference of any pooled state or logit, relative to the largest of its layer."""
    worst = 0.0
    for found in passes(loaded, batch, conditions, names=names):
        with entered(loaded, conditions[found.condition], batch.spans, names):
            expected = capture(loaded, batch)
        for one, other in (
            (found.captured.states, expected.states),
            (found.captured.logits[None], expected.logits[None]),
        ):
            for mine, wanted in zip(one, other, strict=True):
                worst = max(worst, float((mine - wanted).abs().max() / wanted.abs().max()))
    return worst


def ratio(loaded, batch, conditions, names, repetitions):
    """Processor time of all conditions over that of one plain pass, the median over repetitions."""
    found = []
    for _ in range(repetitions):
        with Timer() as plain:
            capture(loaded, batch)
        with Timer() as ours:
            for each in passes(loaded, batch, conditions, names=names):
                assert each.captured.states.shape[0] == DEPTH + 1
        found.append(ours.processor / plain.processor)
    return statistics.median(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--questions", type=int, default=4, help="in one batch")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    loaded = build(settings.width, loading.DTYPES[settings.dtype], settings.device)
    batch = questions(settings.questions).to(loaded)
    names = [str(row) for row in range(len(batch))]
    conditions = {name: [intervention_of(entry, depth=DEPTH)] for name, entry in CONDITIONS.items()}
    print(
        f"{DEPTH} blocks of width {settings.width}, 641 tokens, {settings.dtype} on {settings.device}, "
        f"{settings.threads} thread(s), {settings.questions} questions a batch, {settings.repetitions} repetitions"
    )
    worst = worst_difference(loaded, batch, [[], *conditions.values()], names)
    print(f"largest relative difference from full passes: {worst:.1e}")
    assert worst < (1e-5 if settings.dtype == "float32" else 0.1), "the two ways disagree"
    chosen = [[]]
    measured = ratio(loaded, batch, chosen, names, settings.repetitions)
    print(f"{'intact alone':>22}: {measured:.2f} plain passes")
    for name, condition in conditions.items():
        chosen.append(condition)
        k = len(chosen) - 1
        measured = ratio(loaded, batch, chosen, names, settings.repetitions)
        print(f"{'+ ' + name:>22}: {measured:.2f} plain passes for {k} conditions beside intact; bar {1 + BAR * k:.2f}")


if __name__ == "__main__":
    main()

"""Knockout sweeps with the shared prefix against the published way, on a random LLaVA of 32 blocks.

The published way runs the whole model again for every question, edge and window, one question at a time (arXiv
2411.18620). Both run here in one process on the same questions, the intact pass included on both sides, and must agree.
The reference passes are dealt out over the repetitions, so that each repetition of the sweep is timed beside its share
of them and other load on the machine meets both alike; the ratio printed is the median over repetitions.

    python tests/benchmarks/bench_sweep.py                # about five minutes on one idle core
    python tests/benchmarks/bench_sweep.py --every 8      # every eighth window of the reference: a minute
    python tests/benchmarks/bench_sweep.py --width 4096 --dtype bfloat16 --device cuda --questions 16 --every 8 \\
        --peak 989                                        # an H100
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from pidflow.interventions.edges import DEFAULT_EDGES
from pidflow.interventions.sweep import measure, probes
from pidflow.models import loading
from pidflow.models.answers import Expected
from pidflow.models.inputs import Batch
from pidflow.models.spans import Spans
from pidflow.models.standin import architecture

DEPTH, VOCABULARY, HEAD_WIDTH = 32, 4000, 128
BEFORE, IMAGE, AFTER, TEMPLATE_END = 35, 576, 30, 5
LENGTH = BEFORE + IMAGE + AFTER
IMAGE_TOKEN = 4
SWEEPS = {  # edges, and the bar
    "image->question": (DEFAULT_EDGES[:1], 12),
    "image->last": (DEFAULT_EDGES[1:2], 20),
    "all six edges": (DEFAULT_EDGES, 25),
}


def build(width, dtype, device):
    """LLaVA-1.5 at another width: 24 CLIP blocks of a quarter of it over 24 x 24 patches, heads as wide as the real."""
    vision = CLIPVisionConfig(
        hidden_size=width // 4,
        intermediate_size=width,
        num_hidden_layers=24,
        num_attention_heads=max(1, width // 256),
        image_size=336,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 43 // 16,
        num_hidden_layers=DEPTH,
        num_attention_heads=width // HEAD_WIDTH,
        num_key_value_heads=width // HEAD_WIDTH,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN, vision_feature_layer=-2)
    torch.manual_seed(0)
    with torch.device(device):
        model = LlavaForConditionalGeneration(config).to(dtype)
    return loading.wrap("llava", model, architecture.build_processor(), prompt=architecture.PROMPT)


def questions(count):
    """Random prompts of one length with the spans that a real one has."""
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (count, LENGTH), generator=random)
    ids[:, BEFORE : BEFORE + IMAGE] = IMAGE_TOKEN

    def span(first, last):
        mask = torch.zeros(count, LENGTH, dtype=torch.bool)
        mask[:, first:last] = True
        return mask

    image, thing = span(BEFORE, BEFORE + IMAGE), span(BEFORE + 100, BEFORE + 140)
    masks = {
        "image": image,
        "object": thing,
        "other": image & ~thing,
        "question": span(BEFORE + IMAGE + 1, LENGTH - TEMPLATE_END),
        "text": span(BEFORE + IMAGE, LENGTH),
        "last": span(LENGTH - 1, LENGTH),
    }
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.arange(LENGTH).repeat(count, 1),
        "pixel_values": torch.randn(count, 3, 336, 336, generator=random),
    }
    return Batch(inputs, Spans(masks, span(0, LENGTH)), torch.zeros(count, dtype=torch.bool))


@dataclass
class Timer:
    """Wall and processor seconds of a block."""

    wall: float = 0.0
    processor: float = 0.0

    def __enter__(self):
        self._synchronise()
        self.begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self._synchronise()
        self.wall, self.processor = time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]

    @staticmethod
    def _synchronise():
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def counted(loaded, edges):
    """Multiply-adds a question: those of the published way over ours, without and with skipped blocks; and ours."""
    text, vision = loaded.text_model.config, loaded.model.config.vision_config
    width, tower = text.hidden_size, vision.hidden_size
    per_token = 4 * width**2 + 3 * width * text.intermediate_size

    def run(first, blocks):  # positions from `first` on, through so many blocks
        return blocks * ((LENGTH - first) * per_token + 2 * width * sum(range(first + 1, LENGTH + 1)))

    patches = IMAGE + 1
    tower_block = patches * (4 * tower**2 + 2 * tower * vision.intermediate_size) + 2 * tower * patches**2
    whole = run(0, DEPTH) + 24 * tower_block
    wanted = probes(edges, depth=DEPTH)
    starts = {"question": BEFORE + IMAGE + 1, "last": LENGTH - 1}
    ours = {
        skip: whole + sum(run(starts[p.edge.target], DEPTH - skip * p.window.first) for p in wanted) for skip in (0, 1)
    }
    reference = whole * (len(wanted) + 1)
    return reference / ours[0], reference / ours[1], ours[1]


def reference_pass(loaded, batch, probe):
    """Probability of every first token, from the whole model with one window cut."""
    with torch.inference_mode(), probe.intervention(seed=0).entered(loaded, batch.spans):
        return loaded.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[0, -1].float().softmax(-1)


def compare(loaded, batch, edges, *, repetitions, every):
    """Ratios of wall and of processor time per repetition, cost in plain passes, largest relative difference."""
    one = batch.take(slice(0, 1))
    wanted = probes(edges, depth=DEPTH)
    names = [str(row) for row in range(len(batch))]
    with torch.inference_mode():
        intact = loaded.model(**one.inputs, use_cache=False, logits_to_keep=1).logits[0, -1].float().softmax(-1)
    own = int(intact.argmax())
    rows, worst = [], 0.0
    for repetition in range(repetitions):
        with Timer() as sweep:
            outcome = measure(
                loaded, batch, wanted, expected=[Expected("red")] * len(batch), names=names, answer_tokens=1
            )
        passes = list(range(len(wanted)))[::every][repetition::repetitions]
        with Timer() as plain, torch.inference_mode():
            loaded.model(**one.inputs, use_cache=False, logits_to_keep=1)
        with Timer() as again:
            found = [float(reference_pass(loaded, one, wanted[index])[own]) for index in passes]
        for index, probability in zip(passes, found, strict=True):
            expected = probability / float(intact[own]) - 1
            worst = max(worst, abs(float(outcome.change_first[index, 0]) - expected) / (1 + expected))
        for kind in ("wall", "processor"):
            reference = getattr(plain, kind) + getattr(again, kind) / len(passes) * len(wanted)
            ours = getattr(sweep, kind) / len(batch)
            rows.append((kind, reference / ours, ours / getattr(plain, kind), ours))
    return rows, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--questions", type=int, default=4, help="in one batch of the sweep")
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="run the reference in every so-manieth window only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=float, help="of the device in this dtype, TFLOP/s: its share used is printed")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    loaded = build(settings.width, loading.DTYPES[settings.dtype], settings.device)
    batch = questions(settings.questions).to(loaded)
    print(
        f"{DEPTH} blocks of width {settings.width}, {BEFORE} + {IMAGE} + {AFTER} tokens, {settings.dtype} on "
        f"{settings.device}, {settings.threads} thread(s), {settings.questions} questions a batch, "
        f"{settings.repetitions} repetitions"
    )
    for name, (edges, bar) in SWEEPS.items():
        rows, worst = compare(loaded, batch, edges, repetitions=settings.repetitions, every=settings.every)
        without, skipping, operations = counted(loaded, edges)
        print(f"\n{name}: counted {without:.1f}x, with blocks below the cut skipped {skipping:.1f}x; bar {bar}x")
        for kind in ("wall", "processor"):
            ratios, passes, seconds = zip(*(row[1:] for row in rows if row[0] == kind), strict=True)
            print(
                f"  {kind:9} time: median {statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f}); "
                f"a question costs {statistics.median(passes):.2f} plain passes, {statistics.median(seconds):.2f} s"
            )
        second = statistics.median(row[3] for row in rows if row[0] == "wall")
        rate = 2e-12 * operations / second
        share = f", {rate / settings.peak:.0%} of the peak" if settings.peak else ""
        print(f"  {1 / second:.2f} questions/s, {rate:.3f} TFLOP/s{share}")
        print(f"  largest relative difference of a probability: {worst:.1e}")
        assert worst < (1e-4 if settings.dtype == "float32" else 0.2), "the two ways disagree"
    if settings.device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()

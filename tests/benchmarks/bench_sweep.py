"""Knockout sweeps with the shared prefix against the published way, on a random LLaVA of 32 blocks.

The published way runs the whole model again for every question, edge and window, one question at a time (arXiv
2411.18620). Done well, it runs the picture through the vision tower once and several windows in one batch. All run here
in one process on the same questions, the intact pass included on all sides, and must agree.
The reference passes are dealt out over the repetitions, so that each repetition of the sweep is timed beside its share
of them and other load on the machine meets both alike; the ratio printed is the median over repetitions.

    python tests/benchmarks/bench_sweep.py                # about five minutes on one idle core
    python tests/benchmarks/bench_sweep.py --every 8      # every eighth window of the reference: a minute
    python tests/benchmarks/bench_sweep.py --family llava-next --every 8 --repetitions 2   # about 2,400 tokens
    python tests/benchmarks/bench_sweep.py --width 4096 --dtype bfloat16 --device cuda --questions 16 --every 8 \\
        --peak 989                                        # an H100
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
)

from pidflow.interventions.conditions import language_inputs
from pidflow.interventions.edges import DEFAULT_EDGES
from pidflow.interventions.probes import probes
from pidflow.interventions.sweep import measure
from pidflow.models import loading
from pidflow.models.answers import Expected
from pidflow.models.attention import edges_in_force
from pidflow.models.forward import run
from pidflow.models.inputs import Batch
from pidflow.models.placement import DTYPES
from pidflow.models.spans import Spans
from pidflow.models.standin import architecture

DEPTH, VOCABULARY, HEAD_WIDTH = 32, 4000, 128
BEFORE, AFTER, TEMPLATE_END = 35, 30, 5
IMAGE_TOKEN = 4
SIDE, PATCH = 336, 14
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
PICTURE = (500, 672)  # height and width in pixels: 576 tokens of the whole and 36 rows of 48 and a newline
AT_ONCE = 8  # windows in a batch of the published way done well; more are no faster
# By family: image tokens, and the bars for image->question, image->last and six edges over the published way, as it is
# and done well.
SHAPES = {"llava": (576, (16, 20, 45), (5, 5, 15)), "llava-next": (2340, (22, 40, 90), (5, 5, 15))}
SWEEPS = {"image->question": DEFAULT_EDGES[:1], "image->last": DEFAULT_EDGES[1:2], "all six edges": DEFAULT_EDGES}


def build(family, width, dtype, device):
    """LLaVA-1.5 or 1.6 at another width: 24 CLIP blocks of a quarter of it, heads as wide as the real ones."""
    vision = CLIPVisionConfig(
        hidden_size=width // 4,
        intermediate_size=width,
        num_hidden_layers=24,
        num_attention_heads=max(1, width // 256),
        image_size=SIDE,
        patch_size=PATCH,
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
    settings = {"vision_config": vision, "text_config": text, "image_token_index": IMAGE_TOKEN}
    processor = architecture.build_processor()
    torch.manual_seed(0)
    with torch.device(device):
        if family == "llava":
            model = LlavaForConditionalGeneration(LlavaConfig(**settings, vision_feature_layer=-2))
        else:
            config = LlavaNextConfig(**settings, image_grid_pinpoints=PINPOINTS, tie_word_embeddings=False)
            model = LlavaNextForConditionalGeneration(config)
            images = LlavaNextImageProcessorPil(image_grid_pinpoints=PINPOINTS)
            processor = LlavaNextProcessor(
                image_processor=images,
                tokenizer=processor.tokenizer,
                patch_size=PATCH,
                vision_feature_select_strategy="default",
                num_additional_image_tokens=1,
            )
    return loading.wrap(family, model.to(dtype), processor, prompt=architecture.PROMPT)


def questions(family, count):
    """Random prompts of one length with the spans that a real one has."""
    random = torch.Generator().manual_seed(1)
    image_tokens = SHAPES[family][0]
    length = BEFORE + image_tokens + AFTER
    ids = torch.randint(5, VOCABULARY, (count, length), generator=random)
    ids[:, BEFORE : BEFORE + image_tokens] = IMAGE_TOKEN

    def span(first, last):
        mask = torch.zeros(count, length, dtype=torch.bool)
        mask[:, first:last] = True
        return mask

    image, thing = span(BEFORE, BEFORE + image_tokens), span(BEFORE + 100, BEFORE + 140)
    masks = {
        "image": image,
        "object": thing,
        "other": image & ~thing,
        "question": span(BEFORE + image_tokens + 1, length - TEMPLATE_END),
        "text": span(BEFORE + image_tokens, length),
        "last": span(length - 1, length),
    }
    tiles = () if family == "llava" else (5,)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.arange(length).repeat(count, 1),
        "pixel_values": torch.randn(count, *tiles, 3, SIDE, SIDE, generator=random),
    }
    if tiles:
        inputs["image_sizes"] = torch.tensor([PICTURE] * count)
    return Batch(inputs, Spans(masks, span(0, length)), torch.zeros(count, dtype=torch.bool))


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


def counted(loaded, family, edges):
    """Multiply-adds a question: those of the published way over ours, without and with skipped blocks; and ours."""
    text, vision = loaded.text_model.config, loaded.model.config.vision_config
    width, tower = text.hidden_size, vision.hidden_size
    per_token = 4 * width**2 + 3 * width * text.intermediate_size
    image_tokens = SHAPES[family][0]
    length = BEFORE + image_tokens + AFTER

    def through(first, blocks):  # positions from `first` on, through so many blocks
        return blocks * ((length - first) * per_token + 2 * width * sum(range(first + 1, length + 1)))

    patches, pictures = 577, 1 if family == "llava" else 5
    tower_block = patches * (4 * tower**2 + 2 * tower * vision.intermediate_size) + 2 * tower * patches**2
    whole = through(0, DEPTH) + 24 * pictures * tower_block
    wanted = probes(edges, depth=DEPTH)
    starts = {"question": BEFORE + image_tokens + 1, "last": length - 1}
    ours = {
        skip: whole + sum(through(starts[p.edge.target], DEPTH - skip * p.window.first) for p in wanted)
        for skip in (0, 1)
    }
    reference = whole * (len(wanted) + 1)
    return reference / ours[0], reference / ours[1], ours[1]


def reference_pass(loaded, batch, probe):
    """Probability of every first token, from the whole model with one window cut."""
    with torch.inference_mode(), probe.intervention(seed=0).entered(loaded, batch.spans):
        return run(loaded, batch.inputs)[0, -1].float().softmax(-1)


class SeveralWindows:
    """Rows of one batch that lose the same edge, each in a window of its own."""

    def __init__(self, loaded, spans, chosen):
        self.config, self.rows, self.chosen = loaded.text_model.config, len(chosen), chosen
        self.valid = spans.valid.expand(len(chosen), -1)
        length = self.valid.shape[1]
        self.open = torch.ones(1, 1, length, length, dtype=torch.bool, device=self.valid.device).tril()
        self.cut = self.open & ~chosen[0].intervention(seed=0).blocked(spans)[:, None]

    def allowed(self, layer, queries, keys, base, *, causal=True):
        active = torch.tensor([layer in probe.window.blocks for probe in self.chosen], device=self.valid.device)
        return torch.where(active[:, None, None, None], self.cut, self.open) if active.any() else base

    def unseen(self, layer, queries):
        return None

    def observe(self, *_, **__):
        pass


def done_well(loaded, one, wanted):
    """Probabilities ``(windows, V)`` from batches of windows of one edge, over features of the picture seen once."""
    with torch.inference_mode():
        with language_inputs(loaded) as fed:
            run(loaded, one.inputs)
        found = []
        for first in range(0, len(wanted), AT_ONCE):
            chosen = wanted[first : first + AT_ONCE]
            given = dict(fed.arguments) | {"use_cache": False}
            rows = {"inputs_embeds": (-1, -1), "position_ids": (-1,), "attention_mask": (-1,)}
            given |= {
                name: given[name].expand(len(chosen), *rest)
                for name, rest in rows.items()
                if isinstance(given.get(name), torch.Tensor)
            }
            with edges_in_force(loaded.text_model, SeveralWindows(loaded, one.spans, chosen)):
                last = loaded.text_model(**given).last_hidden_state[:, -1]
            found.append(loaded.logits_of(last).float().softmax(-1))
    return torch.cat(found)


def compare(loaded, batch, edges, *, repetitions, every):
    """Ratios of wall and of processor time per repetition, cost in plain passes, largest relative difference."""
    one = batch.take(slice(0, 1))
    wanted = probes(edges, depth=DEPTH)
    names = [str(row) for row in range(len(batch))]
    with torch.inference_mode():
        intact = run(loaded, one.inputs)[0, -1].float().softmax(-1)
    own = int(intact.argmax())
    rows, worst = [], 0.0
    for repetition in range(repetitions):
        with Timer() as sweep:
            outcome = measure(
                loaded, batch, wanted, expected=[Expected("red")] * len(batch), names=names, answer_tokens=1
            )
        passes = list(range(len(wanted)))[::every][repetition::repetitions]
        with Timer() as plain, torch.inference_mode():
            run(loaded, one.inputs)
        with Timer() as again:
            found = [float(reference_pass(loaded, one, wanted[index])[own]) for index in passes]
        edge = wanted[repetition * DEPTH % len(wanted)].edge
        of_edge = [place for place, probe in enumerate(wanted) if probe.edge == edge][:: max(1, every // 2)]
        with Timer() as well:
            several = done_well(loaded, one, [wanted[place] for place in of_edge])[:, own].tolist()
        for index, probability in [*zip(passes, found, strict=True), *zip(of_edge, several, strict=True)]:
            expected = probability / float(intact[own]) - 1
            worst = max(worst, abs(float(outcome.change_first[index, 0]) - expected) / (1 + expected))
        for kind in ("wall", "processor"):
            reference = getattr(plain, kind) + getattr(again, kind) / len(passes) * len(wanted)
            # Its intact pass, through the vision tower, is in the time of every edge.
            better = getattr(plain, kind) + (getattr(well, kind) - getattr(plain, kind)) / len(of_edge) * len(wanted)
            ours = getattr(sweep, kind) / len(batch)
            rows.append((kind, reference / ours, better / ours, ours / getattr(plain, kind), ours))
    return rows, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=list(SHAPES), default="llava")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--questions", type=int, default=4, help="in one batch of the sweep")
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="run the reference in every so-manieth window only")
    parser.add_argument("--only", choices=list(SWEEPS), help="this sweep alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=float, help="of the device in this dtype, TFLOP/s: its share used is printed")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    loaded = build(settings.family, settings.width, DTYPES[settings.dtype], settings.device)
    batch = questions(settings.family, settings.questions).to(loaded)
    image_tokens, bars, bars_well = SHAPES[settings.family]
    print(
        f"{settings.family}: {DEPTH} blocks of width {settings.width}, {BEFORE} + {image_tokens} + {AFTER} tokens, "
        f"{settings.dtype} on {settings.device}, {settings.threads} thread(s), {settings.questions} questions a batch, "
        f"{settings.repetitions} repetitions"
    )
    for (name, edges), bar, bar_well in zip(SWEEPS.items(), bars, bars_well, strict=True):
        if settings.only and name != settings.only:
            continue
        rows, worst = compare(loaded, batch, edges, repetitions=settings.repetitions, every=settings.every)
        without, skipping, operations = counted(loaded, settings.family, edges)
        print(f"\n{name}: counted {without:.1f}x, with blocks below the cut skipped {skipping:.1f}x")
        for kind in ("wall", "processor"):
            ratios, well, passes, seconds = zip(*(row[1:] for row in rows if row[0] == kind), strict=True)
            for what, values, least in (("the published way", ratios, bar), ("it done well", well, bar_well)):
                middle = statistics.median(values)
                print(
                    f"  {kind:9} time over {what}: {middle:.1f}x ({min(values):.1f} to {max(values):.1f}); bar {least}x"
                )
            print(f"    a question: {statistics.median(passes):.2f} plain passes, {statistics.median(seconds):.2f} s")
        second = statistics.median(row[4] for row in rows if row[0] == "wall")
        rate = 2e-12 * operations / second
        share = f", {rate / settings.peak:.0%} of the peak" if settings.peak else ""
        print(f"  {1 / second:.2f} questions/s, {rate:.3f} TFLOP/s{share}")
        print(f"  largest relative difference of a probability: {worst:.1e}")
        assert worst < (1e-4 if settings.dtype == "float32" else 0.2), "the ways disagree"
    if settings.device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()

"""Extraction as its stage runs it beside a loop over single questions, on one model with random weights.

The loop does what a script does: open the picture, encode the question, run the model once with a cache, let it speak,
keep the pooled states in memory. The stage does the same in batches, with pictures read ahead, and writes its files.
Both run in one process on the same questions and must give the same states. On a CPU processor seconds are compared,
which other load on the machine hardly touches; on a GPU wall-clock seconds.

    python tests/benchmarks/bench_extract.py                          # the shape of the stand-in, a minute on one core
    python tests/benchmarks/bench_extract.py --full --device cuda --dtype bfloat16 --batch auto   # LLaVA-1.5 at 7B

Bars on a CPU: 3 times the loop, writing at most 5 %. On a GPU: 15 times, 55 % of the matmul peak, 90 % of the
reading hidden.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    DynamicCache,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from pidflow.data import scenes
from pidflow.files import store
from pidflow.interventions.answer import answer
from pidflow.models import loading
from pidflow.models.capture import capture
from pidflow.models.images import read_image
from pidflow.models.inputs import encode
from pidflow.models.placement import DTYPES
from pidflow.models.standin import architecture
from pidflow.stages import _questions
from pidflow.stages._extractor import Extraction
from pidflow.stages._questions import Questions, image_files
from pidflow.stages._results import conditions_of
from pidflow.stages._work import Work

SIDE, PATCH = 336, 14


def full_size(device, dtype):
    """LLaVA-1.5 at 7B as its configuration classes make it, with the words of the stand-in."""
    small = architecture.build_processor()
    side = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=side, crop_size=side),
        tokenizer=small.tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(vocab_size=32064, max_position_embeddings=4096, pad_token_id=0)
    image = small.tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(dtype)
        model = LlavaForConditionalGeneration(LlavaConfig(vision, text, image_token_index=image))
        torch.set_default_dtype(torch.float32)
    return model, processor


def questions(folder, count):
    """A table of questions about drawn scenes, with the pictures."""
    rows = []
    for index in range(count):
        rng = np.random.default_rng(index)
        task = scenes.TASKS[index % len(scenes.TASKS)]
        scene, question = scenes.ask_about_new_scene(task, rng, language_prior=0.0, answer=None)
        scenes.render(scene).save(folder / f"{index}.png")
        names = {"item_id": f"q{index}", "image_id": f"i{index}", "image_path": f"{index}.png", "fold": index % 5}
        asked = {"question": question.text, "answer": question.answer, "options": list(question.options), "boxes": []}
        rows.append(names | asked)
    return pd.DataFrame(rows)


class Clock:
    """Processor or wall-clock seconds, by name of what took them."""

    def __init__(self, device):
        self.read = time.process_time if device.type == "cpu" else time.perf_counter
        self.device, self.took = device, {}

    def now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.read()

    def timed(self, name, function, read=None):
        read = read or self.read

        def wrapped(*args, **kwargs):
            start = read()
            try:
                return function(*args, **kwargs)
            finally:
                self.took[name] = self.took.get(name, 0.0) + read() - start

        return wrapped


def staged(loaded, table, files, folder, batch, clock):
    """The stage: seconds in all; those of writing, of reading, and of waiting for what is read go to the clock."""
    real = _questions.ahead

    def ahead(values, *, count):
        found = real(values, count=count)
        following = clock.timed("waiting", lambda: next(found, None), time.perf_counter)
        while (value := following()) is not None:
            yield value

    _questions.ahead = ahead
    Questions._encoded = clock.timed("reading", Questions._encoded, time.perf_counter)
    Work.commit = clock.timed("writing", Work.commit, time.thread_time if loaded.device.type == "cpu" else None)
    Work.finish = clock.timed("writing", Work.finish)
    asked = Questions(loaded, table, files, batch_size=batch)
    results = {"intact": {"answers": str(folder / "a.parquet"), "activations": str(folder / "a.h5")}}
    settings = {"target_kind": "state", "storage": "float16", "layers": "all", "blocks": None, "rule": "normalised"}
    conditions = conditions_of(results, depth=loaded.depth, seed=0)
    extraction = Extraction(questions=asked, table=table, conditions=conditions, **settings, answer_tokens=8, seed=0)
    _ = asked.check
    clock.took.clear()
    start = clock.now()
    extraction.write(
        identity=store.Identity("m", "t"),
        attrs={"layers": loaded.depth},
        made_from=0,
        shard=None,
        part=(0, 1),
        progress=False,
    )
    return clock.now() - start, extraction


def looped(loaded, extraction, files, rows, clock):
    """Single questions one after the other: seconds a question, and their states."""
    found = []
    start = clock.now()
    for row in rows:
        batch = encode(loaded, [extraction.questions.examples[row]], [read_image(files[row])]).to(loaded)
        cache = DynamicCache()
        captured = capture(loaded, batch, cache=cache)
        names, starts = [str(row)], [extraction.starts[row]]
        answer(loaded, batch, captured.reading, cache, names=names, starts=starts, at_most=extraction.asked.at_most)
        found.append(captured.states[:, :, 0].cpu().numpy())
    return (clock.now() - start) / len(rows), np.stack(found, axis=2)


def matmul_peak(device, dtype, clock):
    """Operations a second of one large product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    a @ b
    best = 0.0
    for _ in range(5):
        start = clock.now()
        for _ in range(3):
            a @ b
        best = max(best, 3 * 2 * size**3 / (clock.now() - start))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="LLaVA-1.5 at 7B; else the shape of the stand-in")
    parser.add_argument("--questions", type=int, default=512)
    parser.add_argument("--single", type=int, default=64, help="questions of the loop")
    parser.add_argument("--batch", default=32, type=lambda text: text if text == "auto" else int(text))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, dtype = torch.device(given.device), DTYPES[given.dtype]
    if given.full:
        model, processor = full_size(device, dtype)
    else:
        model, processor = architecture.build_model(seed=0).to(device, dtype), architecture.build_processor()
    loaded = loading.wrap("llava", model.eval(), processor, prompt=architecture.PROMPT)
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = questions(folder, given.questions)
        files = image_files(table, folder)
        took, extraction = staged(loaded, table, files, folder, given.batch, clock)
        parts = dict(clock.took)
        rows = np.linspace(0, given.questions - 1, given.single).astype(int)
        looped(loaded, extraction, files, rows[:4], clock)
        single, states = looped(loaded, extraction, files, rows, clock)
        with store.reading_activations(folder / "a.h5") as data:
            written = np.stack([[data.state(each, name)[rows] for name in data.blocks] for each in data.stored])
        worst = float((np.abs(written - states).max(axis=(1, 2, 3)) / np.abs(states).max(axis=(1, 2, 3))).max())
        assert worst < (2e-3 if dtype == torch.float32 else 0.1), f"the two ways disagree by {worst:.1e}"
        batch = extraction.questions.batch_of(rows[:8])
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            capture(loaded, batch)
    operations, peak = counter.get_total_flops() / len(batch), matmul_peak(device, dtype, clock)
    each, kind = took / given.questions, "processor seconds" if device.type == "cpu" else "seconds"
    memory = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    tokens, size = batch.inputs["input_ids"].shape[1], extraction.questions.batch_size
    print(
        f"{loaded.depth} blocks of width {loaded.width}, {tokens} tokens, {given.dtype} on {device}, "
        f"{given.threads} thread(s), batches of {size}, {given.questions} questions"
    )
    print(f"largest relative difference from the loop (states are stored in float16): {worst:.1e}")
    unit = kind.removesuffix("s")
    print(f"stage: {1 / each:.1f} questions a {unit}; loop: {1 / single:.1f}; ratio {single / each:.2f}")
    print(
        f"one pass takes {operations / 1e9:.3g} GFLOP a question: {operations / each / peak:.1%} of the measured "
        f"matmul peak, {peak / 1e9:.3g} GFLOP/s, answers, reading and writing included"
    )
    print(f"writing: {parts['writing'] / took:.1%} of all; peak memory {memory / 1e9:.2f} GB")
    hidden = 1 - parts["waiting"] / max(parts["reading"], 1e-9)
    print(f"reading and encoding hidden behind the model: {hidden:.0%} (wall-clock, {parts['reading']:.2f} s of it)")


if __name__ == "__main__":
    main()

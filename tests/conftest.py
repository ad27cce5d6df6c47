"""Test tiers and shared fixtures: tiny random models of both families, drawn scenes, an items table on disk."""

import os

# One thread, before any library asks: on a busy machine two threads that wait for each other are far slower than one.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

from pathlib import Path

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the simulation studies that take minutes")


def pytest_collection_modifyitems(config, items):
    reasons = {} if config.getoption("--slow") else {"slow": pytest.mark.skip(reason="minutes of simulation: --slow")}
    if "slurm" not in config.getoption("-m"):
        reasons["slurm"] = pytest.mark.skip(reason="seven minutes of a queue: make test-slurm")
    if not os.path.exists("/dev/nvidia0"):
        reasons["gpu"] = pytest.mark.skip(reason="no accelerator on this machine")
    for item in items:
        for name, mark in reasons.items():
            if name in item.keywords:
                item.add_marker(mark)


@pytest.fixture(scope="session")
def tiny_llava():
    """A random LLaVA-1.5 with the stand-in's processor: 3 blocks of width 32, one head, 36 image tokens."""
    from pidflow.models import loading
    from pidflow.models.standin import architecture

    model, processor = architecture.build_model(seed=0, width=32, depth=3), architecture.build_processor()
    return loading.wrap("llava", model, processor, prompt=architecture.PROMPT)


@pytest.fixture(scope="session")
def tiny_llava_next():
    """A random LLaVA-1.6 over Mistral with grouped heads: 3 x 3 base patches, tiles of 48 x 24, 24 x 48 or 48 x 48."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
        MistralConfig,
    )

    from pidflow.models import loading
    from pidflow.models.standin import architecture

    side, patch = 24, 8
    tiles = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]
    tokenizer = architecture.build_processor().tokenizer
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_grid_pinpoints=tiles
    )
    processor = LlavaNextProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=patch,
    )
    text = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=None,
        max_position_embeddings=256,
    )
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=tiles,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaNextForConditionalGeneration(config)
    return loading.wrap("llava-next", model, processor, prompt="USER: <image>\n{question} ASSISTANT:")


@pytest.fixture(scope="session")
def asked():
    """``asked(n)``: questions of all six types about n drawn scenes, as ``(examples, pictures, questions)``."""
    from pidflow.data import scenes
    from pidflow.models.inputs import Example

    def draw(n, *, first=10**9):
        examples, pictures, questions = [], [], []
        for index in range(n):
            rng = np.random.default_rng(first + index)
            task = scenes.TASKS[index % len(scenes.TASKS)]
            scene, question = scenes.ask_about_new_scene(task, rng, language_prior=0.0, answer=None)
            examples.append(Example(question.text, question.options, question.boxes, name=f"item {index}"))
            pictures.append(scenes.render(scene))
            questions.append(question)
        return examples, pictures, questions

    return draw


@pytest.fixture
def write_items(tmp_path, asked):
    """``write_items(n)``: an items table with its pictures in a new folder; gives the table's path."""
    import pandas as pd

    from pidflow.files import store

    def write(n, **columns) -> Path:
        folder = tmp_path / "dataset"
        (folder / "images").mkdir(parents=True)
        _, pictures, questions = asked(n)
        for index, picture in enumerate(pictures):
            picture.save(folder / "images" / f"{index}.png")
        table = pd.DataFrame(
            {
                "item_id": [f"q{index}" for index in range(n)],
                "image_id": [f"im{index}" for index in range(n)],
                "image_path": [f"images/{index}.png" for index in range(n)],
                "question": [question.text for question in questions],
                "answer": [question.answer for question in questions],
                "options": [list(question.options) for question in questions],
                "boxes": [[list(box) for box in question.boxes] for question in questions],
                "fold": [index % 5 for index in range(n)],
            }
        ).assign(**columns)
        store.write_table(folder / "items.parquet", table)
        return folder / "items.parquet"

    return write


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory, tiny_llava):
    """The tiny LLaVA-1.5 saved as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("model")
    tiny_llava.model.save_pretrained(folder)
    tiny_llava.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def picture():
    """A plain picture of the stand-in's size."""
    from PIL import Image

    return Image.new("RGB", (48, 48), (200, 30, 30))


@pytest.fixture(scope="session")
def wide():
    """A picture three times as wide as high."""
    from PIL import Image

    return Image.new("RGB", (60, 20), (30, 30, 200))

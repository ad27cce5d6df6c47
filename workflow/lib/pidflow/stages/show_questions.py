"""Stage ``show_questions``: a few questions of a task as a model meets them, for the pages of the report."""

import base64
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from pidflow.errors import PidflowError
from pidflow.files.store import read_table, write_json
from pidflow.models.capture import capture
from pidflow.models.images import read_image
from pidflow.models.loading import LoadedModel
from pidflow.names import INTACT
from pidflow.stages._questions import Questions, image_files, load_model, own_attention, read_items

log = logging.getLogger(__name__)

_TOP = 3  # tokens a layer
_SIDE = 256  # pixels of the longer side of a picture in the page
_BLANK_PIECE = "\u2581"


def run(
    *,
    items: str,
    images: str | None,
    answers: Mapping[str, str],
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    instruction: str | None,
    count: int,
    output: str,
) -> None:
    """Describe the questions of a task that an intervention moves most, those answered wrongly, and some others.

    Parameters
    ----------
    items, images
        The questions, and the folder that their image paths are relative to; None: the table holds the pictures.
    answers
        Answers by condition, the intact one among them.
    model, model_id, task, instruction
        What was run: the model's entry, its id, the task's id and what it asks for beside the question.
    count
        How many questions.
    output
        JSON with one entry a question: picture, boxes, patches, tokens with their spans, the three likeliest tokens at
        each layer, and what was said in each condition.

    Raises
    ------
    ConfigError, DataError
        With model and task in front.
    """
    try:
        said = {name: read_table(path) for name, path in answers.items()}
        table = read_items(Path(items))
        rows = chosen_rows(said, count)
        loaded, _ = load_model(model, instruction=instruction)
        files = image_files(table, None if images is None else Path(images))
        questions = Questions(loaded, table, files, batch_size=1)
        with own_attention(loaded, model):
            entries = [_entry(loaded, questions, table, files, said, int(row)) for row in rows]
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}: {err}") from err
    write_json(output, {"model": model_id, "task": task, "questions": entries})
    log.info("%s, %s: %d questions shown", model_id, task, len(entries))


def chosen_rows(said: Mapping[str, pd.DataFrame], count: int) -> np.ndarray:
    """Rows to show: up to a third answered wrongly, then those whose answer an intervention moves most.

    Parameters
    ----------
    said
        Answers by condition.
    count
        How many rows, at most.
    """
    intact = said[INTACT]
    wrong = np.flatnonzero(~intact["correct"].to_numpy(dtype=bool))[: count // 3]
    effect = np.argsort(-effect_of(said), kind="stable")
    rows = dict.fromkeys([*wrong.tolist(), *effect.tolist()])
    return np.sort(list(rows)[:count])


def effect_of(said: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """``(n,)``: the largest change of the probability of the right answer in any condition; 0 where it is unknown."""
    intact = said[INTACT]["answer_probability"].to_numpy(dtype=float)
    changes = [np.abs(frame["answer_probability"].to_numpy(dtype=float) - intact) for frame in said.values()]
    return np.nan_to_num(np.max(changes, axis=0))


def _entry(
    loaded: LoadedModel,
    questions: Questions,
    table: pd.DataFrame,
    files: list,
    said: Mapping[str, pd.DataFrame],
    row: int,
) -> dict[str, Any]:
    """One question as the page shows it."""
    item, picture = table.iloc[row], read_image(files[row])
    batch = questions.batch_of(np.array([row])).to(loaded)
    states = capture(loaded, batch).last[:, 0]
    ids = batch.inputs["input_ids"][0].tolist()
    valid = batch.spans.valid[0].tolist()
    names = [name for name, mask in batch.spans.masks.items() if bool(mask.any())]
    spans = {name: batch.spans.masks[name][0].tolist() for name in names}
    tokens = [
        {"text": text, "spans": [name for name in names if spans[name][place]]}
        for place, (text, real) in enumerate(zip(_pieces(loaded, ids), valid, strict=True))
        if real
    ]
    layout = loaded.layout((picture.height, picture.width))
    return {
        "item": str(item["item_id"]),
        "question": item["question"],
        "answer": item["answer"],
        "picture": _thumbnail(picture),
        "size": [picture.width, picture.height],
        "boxes": [list(map(float, box)) for box in item["boxes"]],
        "patches": [
            [round(float(side), 2) for side in four]
            for four in (() if layout is None else layout.rectangle)
            if np.isfinite(four).all()
        ],
        "tokens": tokens,
        "lens": _lens(loaded, states),
        "effect": float(effect_of(said)[row]),
        "said": [
            {"condition": name, "spoken": str(frame["spoken"].iloc[row]), "correct": bool(frame["correct"].iloc[row])}
            | {"probability": _known(frame["answer_probability"].iloc[row])}
            for name, frame in said.items()
        ],
    }


def _pieces(loaded: LoadedModel, ids: list[int]) -> list[str]:
    """Tokens as text, blanks kept."""
    return [str(piece).replace(_BLANK_PIECE, " ") for piece in loaded.tokenizer.convert_ids_to_tokens(ids)]


def _lens(loaded: LoadedModel, states: torch.Tensor) -> list[list[list[Any]]]:
    """The likeliest tokens of each layer's state at the last position, with their probabilities."""
    found = []
    with torch.inference_mode():
        for state in states:
            scores = loaded.logits_of(loaded.normed(state[None].to(loaded.dtype))).float().softmax(-1)[0]
            top = scores.topk(_TOP)
            texts = _pieces(loaded, top.indices.tolist())
            found.append([[text, round(value, 4)] for text, value in zip(texts, top.values.tolist(), strict=True)])
    return found


def _thumbnail(picture: Image.Image) -> str:
    """A small JPEG as the address of an image."""
    small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    stored = io.BytesIO()
    small.save(stored, "JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else round(float(value), 4)

"""Stage ``describe_model``: a page with one question as a model meets it, and what the check at load found."""

import base64
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageDraw

from pidflow.errors import PidflowError
from pidflow.files import store
from pidflow.interventions.model_check import check_model
from pidflow.models.images import read_image
from pidflow.models.inputs import Batch, encode
from pidflow.models.loading import LoadedModel
from pidflow.stages._questions import examples_of, image_files, load_model, own_attention, read_items

log = logging.getLogger(__name__)

_ROWS = 2  # that the check runs on
_SIDE = 512  # pixels of the longer side of the picture on the page
# Spans that frames are named by; later ones lie over earlier ones.
_FRAMES = ("template", "system", "instruction", "bos", "image", "separators", "object", "question", "options", "last")
_REPEATED = re.compile(r"(\S+)(?: \1(?!\S)){2,}")
_PATCH, _OBJECT = "#3a6ea5", "#e69f00"


def run(
    *,
    items: str,
    output: str,
    findings: str,
    page: str,
    style: str,
    title: str,
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    instruction: str | None = None,
    image_root: str | None = None,
) -> None:
    """Write a page (HTML, opens without a network) and the findings (JSON).

    Parameters
    ----------
    items
        Items table; its first question is shown.
    output, findings
        The page; what :func:`pidflow.interventions.model_check.check_model` found, with the decoded spans.
    page, style, title
        Template and style sheet of the page, and what to call model and task.
    model, model_id, task, instruction, image_root
        As of :func:`pidflow.stages.extract_activations.run`.

    Raises
    ------
    ConfigError, DataError, NumericsError
        With model and task in front.
    """
    try:
        table = read_items(Path(items)).head(_ROWS)
        pictures = [
            read_image(file)
            for file in image_files(table, Path(image_root) if image_root is not None else Path(items).parent)
        ]
        loaded, _ = load_model(model, instruction=instruction)
        examples = examples_of(table)
        parts = [slice(None), *(slice(row, row + 1) for row in range(len(examples)))]
        batch, *alone = (encode(loaded, examples[part], pictures[part]).to(loaded) for part in parts)
        with own_attention(loaded, model):
            found = check_model(loaded, batch, alone)
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}: {err}") from err
    for line in found.lines():
        log.info(line)
    store.write_json(findings, found)
    drawn, patches, of_object = _patches(loaded, batch, pictures[0])
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = environment.from_string(Path(page).read_text(encoding="utf-8")).render(
        title=title,
        style=Path(style).read_text(encoding="utf-8"),
        item=table.iloc[0].to_dict() | {"options": list(table.iloc[0]["options"])},
        picture=drawn,
        patches=patches,
        of_object=of_object,
        groups=_groups(loaded, batch),
        spans={name: _REPEATED.sub(_counted, text) for name, text in found.spans[0].items()},
        notes=[*found.lines(), *([loaded.family.notes] if loaded.family.notes else [])],
    )
    store.write_text(output, text)


def _counted(repeated: re.Match) -> str:
    """One of several equal tokens and how many there are."""
    return f"{repeated[1]} × {len(repeated[0].split())}"


def _groups(loaded: LoadedModel, batch: Batch) -> list[dict[str, Any]]:
    """Neighbouring tokens of the first row that one frame holds, with their spans; equal image tokens are counted."""
    masks = {name: mask[0].tolist() for name, mask in batch.spans.masks.items()}
    runs: list[list[Any]] = []  # frame, text, spans, how many
    for place in np.flatnonzero(batch.spans.valid[0].cpu().numpy()):
        text = loaded.tokenizer.decode([int(batch.inputs["input_ids"][0, place])])
        names = [name for name, held in masks.items() if held[place]]
        frame = next((name for name in reversed(_FRAMES) if name in names), "")
        if runs and runs[-1][:3] == [frame, text, names] and "image" in names:
            runs[-1][3] += 1
        else:
            runs.append([frame, text, names, 1])
    groups: list[dict[str, Any]] = []
    for frame, text, names, count in runs:
        if not groups or groups[-1]["kind"] != frame:
            groups.append({"kind": frame, "tokens": []})
        groups[-1]["tokens"].append((f"{text} × {count} " if count > 1 else text, ", ".join(names)))
    return groups


def _patches(loaded: LoadedModel, batch: Batch, picture: Image.Image) -> tuple[str, int, int]:
    """The picture as PNG in base64, its patches outlined, those of the object thick; how many of both there are."""
    scale = _SIDE / max(picture.size)
    shown = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    layout = loaded.layout((picture.height, picture.width))
    patches = objects = 0
    if layout is not None:
        drawing = ImageDraw.Draw(shown)
        ids, spans = batch.inputs["input_ids"][0], batch.spans
        at_features = spans["image"][0] & (ids == loaded.image_token_id)
        of_object = spans["object"][0][at_features].cpu().numpy()
        for corners, chosen in sorted(zip(layout.rectangle, of_object, strict=True), key=lambda each: bool(each[1])):
            if np.isfinite(corners).all():
                patches, objects = patches + 1, objects + bool(chosen)
                colour, width = (_OBJECT, 3) if chosen else (_PATCH, 1)
                drawing.rectangle([float(corner) * scale for corner in corners], outline=colour, width=width)
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode(), patches, objects

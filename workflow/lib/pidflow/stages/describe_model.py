"""Stage ``describe_model``: a page with one question as a model meets it, and what the check at load found."""

import base64
import html
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pidflow.errors import PidflowError
from pidflow.files import store, writing
from pidflow.interventions.model_check import ModelCheck, check_model
from pidflow.models.images import read_image
from pidflow.models.inputs import Batch, encode
from pidflow.models.loading import LoadedModel
from pidflow.stages._questions import examples_of, image_files, load_model, own_attention, read_items

log = logging.getLogger(__name__)

_ROWS = 2  # that the check runs on
_SIDE = 512  # pixels of the longer side of the picture on the page
# Colours that colour-blind readers tell apart, one a span; later spans lie over earlier ones.
_COLOURS = {
    "template": "#e6e6e6",
    "system": "#d9d0e8",
    "instruction": "#f7e3a1",
    "bos": "#bbbbbb",
    "image": "#cfe8f7",
    "separators": "#9fb8c8",
    "object": "#e69f00",
    "question": "#c3e6c8",
    "options": "#8fd19e",
    "last": "#f4b6c2",
}


def run(
    *,
    items: str,
    output: str,
    findings: str,
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
        batch = encode(loaded, examples_of(table), pictures).to(loaded)
        with own_attention(loaded, model):
            found = check_model(loaded, batch)
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}: {err}") from err
    for line in found.lines():
        log.info(line)
    store.write_json(findings, found)
    with writing.replacing(output) as path:
        page = _page(f"{model_id}, {task}", loaded, batch, pictures[0], found)
        Path(path).write_text(page, encoding="utf-8")


def _page(title: str, loaded: LoadedModel, batch: Batch, picture: Image.Image, found: ModelCheck) -> str:
    notes = [*found.lines(), *([loaded.family.notes] if loaded.family.notes else [])]
    legend = "".join(f'<span style="background:{colour}">{name}</span> ' for name, colour in _COLOURS.items())
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in notes)
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title>"
        "<style>body{font:15px/1.6 sans-serif;max-width:60em;margin:2em auto}"
        "span{padding:1px 2px;margin:1px;border-radius:3px;white-space:pre-wrap}</style>"
        f"<h1>{html.escape(title)}</h1><ul>{listed}</ul><p>{legend}</p>"
        f"<p>{_tokens(loaded, batch)}</p>"
        '<p><img alt="the picture with its patches" src="data:image/png;base64,'
        f'{_patches(loaded, batch, picture)}"></p>'
    )


def _tokens(loaded: LoadedModel, batch: Batch) -> str:
    """The first row's tokens, coloured by the last of the spans that hold them; runs of one image token are counted."""
    pieces: list[tuple[str, str, int]] = []
    for place in np.flatnonzero(batch.spans.valid[0].cpu().numpy()):
        text = loaded.tokenizer.decode([int(batch.inputs["input_ids"][0, place])])
        masks = batch.spans.masks
        names = [name for name in _COLOURS if name in masks and bool(masks[name][0, place])]
        name = names[-1] if names else ""
        if pieces and pieces[-1][:2] == (text, name) and "image" in names:
            pieces[-1] = (text, name, pieces[-1][2] + 1)
        else:
            pieces.append((text, name, 1))
    return "".join(
        f'<span title="{name}" style="background:{_COLOURS.get(name, "none")}">{html.escape(text)}'
        f"{f' x {count}' if count > 1 else ''}</span>"
        for text, name, count in pieces
    )


def _patches(loaded: LoadedModel, batch: Batch, picture: Image.Image) -> str:
    """The picture as PNG in base64, its patches outlined, those of the object in another colour."""
    scale = _SIDE / max(picture.size)
    shown = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    layout = loaded.layout((picture.height, picture.width))
    if layout is not None:
        drawing = ImageDraw.Draw(shown)
        ids, spans = batch.inputs["input_ids"][0], batch.spans
        at_features = spans["image"][0] & (ids == loaded.image_token_id)
        of_object = spans["object"][0][at_features].cpu().numpy()
        for corners, chosen in sorted(zip(layout.rectangle, of_object, strict=True), key=lambda each: bool(each[1])):
            if np.isfinite(corners).all():
                colour = _COLOURS["object"] if chosen else "#3a6ea5"
                drawing.rectangle(
                    [float(corner) * scale for corner in corners], outline=colour, width=2 if chosen else 1
                )
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()

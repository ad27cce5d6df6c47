"""Proof that image tokens show what their layout marks: a painted box moves those that span ``object`` marks.

Where patches are read, each is kept to itself meanwhile: all attention outside the language model lets every position
see itself alone, so that what moves is what shows the box and nothing that heard of it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from pidflow.errors import NumericsError
from pidflow.models.entry import Entered, language_arguments
from pidflow.models.forward import run
from pidflow.models.inputs import Batch, Example, encode
from pidflow.models.loading import LoadedModel

ALONE = "pidflow_alone"
# Width and height of the pictures, neither square; left, top, right, bottom of the boxes in shares of them.
_SIZES = ((320, 240), (170, 290))
_BOXES = ((0.0, 0.0, 0.3, 0.3), (0.65, 0.65, 1.0, 1.0))
_GREY, _PAINT = (90, 120, 100), (250, 10, 30)
# A token must move that shows so much of the box, by so much of the largest movement; one that lies further from it
# than a quarter of its patch must not, by more than resampling and pooling carry over.
_SHOWN, _MOVED, _FAR, _CARRIED = 0.3, 0.05, 0.25, 0.2


def places_known(loaded: LoadedModel) -> bool:
    """Whether it is known where a model's image tokens lie in a picture.

    By its family, or, where that only measures what the processor does, by painted boxes.
    """
    family = loaded.family
    if family.layout is None or not family.measured:
        return family.layout is not None
    try:
        return painted_boxes_move_their_tokens(replace(loaded, family=replace(family, measured=False))) is True
    except NumericsError:
        return False


def painted_boxes_move_their_tokens(loaded: LoadedModel) -> bool | None:
    """Whether a painted box moves the image tokens that span ``object`` marks, in pictures of two shapes.

    None where that cannot be told: the family does not say where its image tokens lie, or tokens that lie elsewhere
    move too, because patches are mixed before the language model by something that cannot be switched off.

    Raises
    ------
    NumericsError
        If tokens that show the box by their layout are not moved or not marked.
    """
    answers = {_holds(loaded, size, share) for size in _SIZES for share in _BOXES}
    return None if None in answers else True


def _holds(loaded: LoadedModel, size: tuple[int, int], share: tuple[float, ...]) -> bool | None:
    layout = loaded.layout((size[1], size[0]))
    if layout is None:
        return None
    box = np.round(np.array(share) * (*size, *size)).astype(int)
    moved, marked = moved_and_marked(loaded, size, box)
    if not moved.max():
        raise NumericsError(f"a box painted into a picture of {size[0]} x {size[1]} pixels moves no image token")
    left, top, right, bottom = layout.rectangle.T
    across, down = _FAR * (right - left), _FAR * (bottom - top)
    near = (left - across < box[2]) & (box[0] < right + across)
    near &= (top - down < box[3]) & (box[1] < bottom + down)
    placed = np.isfinite(layout.rectangle).all(1)
    shows = placed & (np.nan_to_num(layout.covered(box)) > _SHOWN)
    still = shows & ~((moved > _MOVED * moved.max()) & marked)
    stirred = placed & ~near & ((moved > _CARRIED * moved.max()) | marked)
    if not still.any():
        return None if stirred.any() else True
    wrong = int(np.flatnonzero(still)[0])
    raise NumericsError(
        f"image token {wrong} of {len(layout)} lies at {np.round(layout.rectangle[wrong]).astype(int).tolist()} by its "
        f"layout, but is not moved by a box painted at {box.tolist()} into a picture of {size[0]} x {size[1]} pixels; "
        f"family '{loaded.family.name}' does not describe what this processor does to pictures: "
        + ("set image: pad or crop in the model's entry" if loaded.family.makes_square else "use family 'generic'")
    )


def moved_and_marked(loaded: LoadedModel, size: tuple[int, int], box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far a painted box (left, top, right, bottom) moves each image token, ``(k,)``, and which are its ``object``.

    Movement is the norm of the difference between what the language model is fed with the box and without.
    """
    blank = Image.new("RGB", size, _GREY)
    painted = blank.copy()
    ImageDraw.Draw(painted).rectangle([*map(int, box[:2]), int(box[2]) - 1, int(box[3]) - 1], fill=_PAINT)
    left, top, right, bottom = map(float, box)
    example = Example("What is there?", boxes=((left, top, right - left, bottom - top),), name="a painted box")
    batches = [encode(loaded, [example], [picture]).to(loaded) for picture in (blank, painted)]
    if loaded.family.across:
        before, after = (_keys(loaded, batch).float() for batch in batches)
        marked = batches[0].spans.patches["object"][0]
    else:
        at = (batches[0].inputs["input_ids"][0] == loaded.image_token_id) & batches[0].spans["image"][0]
        before, after = (_fed(loaded, batch).to(loaded.device)[at].float() for batch in batches)
        marked = batches[0].spans["object"][0][at]
    return (after - before).norm(dim=-1).cpu().numpy(), marked.cpu().numpy()


def _keys(loaded: LoadedModel, batch: Batch) -> torch.Tensor:
    """What cross-attention makes keys of, ``(K, width)``, patches kept to themselves."""
    with (
        torch.inference_mode(),
        _patches_alone(loaded),
        language_arguments(loaded, stop=True) as found,
        suppress(Entered),
    ):
        run(loaded, batch.inputs)
    return found["cross_attention_states"].flatten(0, -2)


class _Fed(Exception):
    """The first block would begin now."""


def _fed(loaded: LoadedModel, batch: Batch) -> torch.Tensor:
    """States ``(T, width)`` that the first block is fed, patches kept to themselves."""
    found: list[torch.Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append((args[0] if args else kwargs["hidden_states"])[0])
        raise _Fed

    hook = loaded.layers[0].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.inference_mode(), _patches_alone(loaded), suppress(_Fed):
            run(loaded, batch.inputs)
    finally:
        hook.remove()
    return found[0]


@contextmanager
def _patches_alone(loaded: LoadedModel) -> Iterator[None]:
    """Let every position outside the language model attend to itself alone."""
    with ExitStack() as stack:
        for part in _outside(loaded.model, loaded.layers):
            stack.callback(part.set_attn_implementation, part.config._attn_implementation)
            part.set_attn_implementation(ALONE)
        yield


def _outside(module: nn.Module, blocks: nn.ModuleList) -> Iterator[PreTrainedModel]:
    """The largest models of the library inside a module that do not hold the decoder blocks."""
    if module is blocks:
        return
    holds = any(each is blocks for each in module.modules())
    if isinstance(module, PreTrainedModel) and not holds:
        yield module
        return
    for child in module.children():
        yield from _outside(child, blocks)


def _alone(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Attention of every position to itself; of queries that are no positions of the picture, to all alike."""
    value = value.repeat_interleave(query.shape[1] // value.shape[1], 1)
    if query.shape[2] != value.shape[2]:
        value = value.mean(2, keepdim=True).expand(-1, -1, query.shape[2], -1)
    return value.transpose(1, 2).contiguous(), None


AttentionInterface.register(ALONE, _alone)
AttentionMaskInterface.register(ALONE, sdpa_mask)

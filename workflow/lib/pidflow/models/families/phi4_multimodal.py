"""Phi-4-multimodal: tiles of the picture as one grid, a mark, then the whole of it, a mark after each row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout

_ADAPTER = "vision-lora"


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    import numpy as np

    from pidflow.models.layout import BASE, NEWLINE, TILE, Layout, panel

    images = processor.image_processor
    height, width = size
    side, patch = images.size["height"], images.patch_size
    blank = np.broadcast_to(np.uint8(0), (3, height, width))
    mask, (high, wide) = _shown(images, blank)
    scale = min(wide / width, high / height)  # the picture keeps its shape, in the upper left corner
    per_pixel = height / max(1, int(height * scale)), width / max(1, int(width * scale))
    rows, columns = int(mask[::2, 0].sum()), int(mask[0, ::2].sum())
    cell = 2 * patch
    tiles = panel(rows, columns, box=(0, 0, columns * cell * per_pixel[1], rows * cell * per_pixel[0]), kind=TILE)
    count = side // cell
    whole = panel(count, count, box=(0, 0, wide * per_pixel[1], high * per_pixel[0]))
    parts = [_with_marks(tiles, rows, columns), np.full((1, 4), np.nan), _with_marks(whole, count, count)]
    rectangle = np.concatenate(parts)
    kind = np.concatenate([np.full(len(part), kind) for part, kind in zip(parts, (TILE, NEWLINE, BASE), strict=True)])
    kind[np.isnan(rectangle).any(1)] = NEWLINE
    return Layout(kind=kind, rectangle=rectangle)


def _shown(images: Any, blank: Any) -> tuple[Any, tuple[int, int]]:
    """Which patches of the padded picture hold some of it, and the size that it is padded to."""
    import torch

    side = images.size["height"]
    padded, mask = images.dynamic_preprocess(
        torch.from_numpy(blank.copy()), side, images.patch_size, side // images.patch_size, max_num=images.dynamic_hd
    )
    return mask.numpy(), tuple(padded.shape[-2:])


def _with_marks(layout: Layout, rows: int, columns: int) -> Any:
    import numpy as np

    grid = layout.rectangle.reshape(rows, columns, 4)
    return np.concatenate([grid, np.full((rows, 1, 4), np.nan)], axis=1).reshape(-1, 4)


def _prepare(model: Any) -> None:
    """The library's tower lets patches see earlier ones alone where a picture fills all of its tiles."""
    for module in model.modules():
        if type(module).__name__ == "Phi4MultimodalVisionAttention":
            module.is_causal = False


def _check(folder: Path) -> str | None:
    """Its hub checkpoints keep what was tuned for pictures beside the weights, where no load would find it."""
    if (folder / _ADAPTER).is_dir():
        return (
            f"its weights for pictures lie in {_ADAPTER} beside the others, which are those for text alone; merge them "
            f"first (peft: PeftModel.from_pretrained(model, …/{_ADAPTER}).merge_and_unload()) and save the model anew"
        )
    return None


FAMILY = Family(
    name="phi4-multimodal",
    model_type="phi4_multimodal",
    layout=_layout,
    loader="AutoModelForCausalLM",
    check_folder=_check,
    embedder="model.embed_tokens_extend",
    prepare_model=_prepare,
    notes="the weights for pictures (vision-lora) must have been merged into the others",
)

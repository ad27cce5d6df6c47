"""Fuyu: rows of patches with a newline after each, before the text; no tower of its own for the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from pidflow.models.layout import panel

    images = processor.image_processor
    scale = min(1.0, images.size["height"] / size[0], images.size["width"] / size[1])
    shown = [int(side * scale) for side in size] if scale < 1 else size
    high, wide = images.patch_size["height"], images.patch_size["width"]
    rows, columns = -(-shown[0] // high), -(-shown[1] // wide)
    box = (0, 0, columns * wide * size[1] / shown[1], rows * high * size[0] / shown[0])  # padded at right and bottom
    return panel(rows, columns, box=box)


def _prepare(processor: Any) -> None:
    """The library's PIL backend cuts arrays into patches, but is handed tensors."""
    import numpy as np
    import torch

    images = processor.image_processor
    of_arrays = images.patchify_image

    def patchify(image: Any, patch_size: Any = None) -> Any:
        return torch.as_tensor(of_arrays(image=np.asarray(image), patch_size=patch_size))

    images.patchify_image = patchify


FAMILY = Family(
    prepare=_prepare, name="fuyu", model_type="fuyu", layout=_layout, in_front=True, image_token="|SPEAKER|"
)

"""Llama 4: tiles of the picture with marks between, then the whole of it; blocks that attend within chunks."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import measured

FAMILY = Family(name="llama4", model_type="llama4", image_token="<|patch|>", layout=measured, measured=True)

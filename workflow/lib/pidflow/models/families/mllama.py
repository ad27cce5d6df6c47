"""Llama 3.2 Vision: one token stands for the picture, which enters through blocks of cross-attention."""

from pidflow.models.families._family import Family

FAMILY = Family(
    name="mllama",
    model_type="mllama",
    notes="one token stands for the picture; who loses it loses the picture in cross-attention too",
)

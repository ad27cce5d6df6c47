"""Idefics3: tiles with marks of row and column between, then the whole picture."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import split_frames

FAMILY = Family(name="idefics3", model_type="idefics3", layout=split_frames)

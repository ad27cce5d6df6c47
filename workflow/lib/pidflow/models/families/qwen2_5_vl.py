"""Qwen2.5-VL: one grid of merged patches; positions on three axes, silently on one without token types."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import merged_grid

FAMILY = Family(name="qwen2-5-vl", model_type="qwen2_5_vl", layout=merged_grid)

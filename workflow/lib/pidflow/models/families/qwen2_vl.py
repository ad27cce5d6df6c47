"""Qwen2-VL: one grid of merged patches; positions on three axes."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import merged_grid

FAMILY = Family(name="qwen2-vl", model_type="qwen2_vl", layout=merged_grid)

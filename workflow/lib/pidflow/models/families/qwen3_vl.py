"""Qwen3-VL: one grid of merged patches; the picture enters again after the first blocks."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import merged_grid

FAMILY = Family(name="qwen3-vl", model_type=("qwen3_vl", "qwen3_vl_moe"), layout=merged_grid)

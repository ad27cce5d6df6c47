"""PaddleOCR-VL: one grid of patches, merged after the tower."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import merged_grid

FAMILY = Family(name="paddleocr-vl", model_type="paddleocr_vl", layout=merged_grid)

"""LightOnOCR: one grid of merged patches of the picture, scaled down to fit."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import patch_rows

FAMILY = Family(name="lighton-ocr", model_type="lighton_ocr", layout=patch_rows)

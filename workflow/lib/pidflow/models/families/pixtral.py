"""Pixtral: rows of patches with a mark after each, in the class of LLaVA."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import patch_rows

FAMILY = Family(name="pixtral", model_type="llava", layout=patch_rows)

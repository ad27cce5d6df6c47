"""Mistral 3: rows of merged patches with a mark after each."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import patch_rows

FAMILY = Family(name="mistral3", model_type="mistral3", layout=patch_rows)

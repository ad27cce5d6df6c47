"""EXAONE 4.5: one grid of merged patches."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import merged_grid

FAMILY = Family(name="exaone4-5", model_type="exaone4_5", layout=merged_grid)

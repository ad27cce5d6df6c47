"""Janus: the picture padded to a square, one grid of patches."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import measured

FAMILY = Family(name="janus", model_type="janus", layout=measured)

"""SmolVLM: tiles with marks of row and column between, then the whole picture."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import split_frames

FAMILY = Family(name="smolvlm", model_type="smolvlm", layout=split_frames)

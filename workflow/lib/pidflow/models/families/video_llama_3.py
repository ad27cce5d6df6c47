"""VideoLLaMA 3: one grid of patches, merged as its processor does it."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import merged_grid

FAMILY = Family(name="video-llama-3", model_type="video_llama_3", layout=merged_grid)

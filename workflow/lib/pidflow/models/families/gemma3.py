"""Gemma 3: a square, and crops of long pictures; an image's tokens see each other; states pass what float16 holds."""

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import measured

FAMILY = Family(name="gemma3", model_type="gemma3", layout=measured, sees="image-block", storage="float32")

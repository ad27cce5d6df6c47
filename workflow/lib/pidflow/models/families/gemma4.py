"""Gemma 4: one run of image tokens, which see each other both ways in sliding blocks; bounded logits."""

from pidflow.models.families._family import Family

FAMILY = Family(name="gemma4", model_type="gemma4", sees="image-block", storage="float32")

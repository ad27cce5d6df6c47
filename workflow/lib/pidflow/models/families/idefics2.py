"""Idefics2: tokens of a resampler, each of which sees the whole picture."""

from pidflow.models.families._family import Family

FAMILY = Family(name="idefics2", model_type="idefics2")

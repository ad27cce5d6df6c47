"""Typed settings: what the configuration may say, said once; schema, known keys and refusals come from here."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of a part of a run: unknown keys and numbers that are not finite are refused, values do not change.

    Every field has a type, a ``description`` and, where sizes could run for ever, bounds on both sides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

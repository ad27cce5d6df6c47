"""Shape and schedule of the flows: key ``flow`` of the configuration. No torch, the workflow itself reads it."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pidflow.errors import ConfigError
from pidflow.plugins import registry
from pidflow.plugins.settings import Settings, Whole


class FlowConfig(Settings):
    """Shape of a product flow and how it is trained; the fields say what each does."""

    maps: str = Field(
        default="product", max_length=100, description="Maps of the flow: the name of a file in pidflow/flows/maps."
    )
    map_settings: dict[str, Any] = Field(
        default={}, description="Settings of those maps, where they have any; their file describes them."
    )
    marginals: Literal["quantile", "standardise"] = Field(
        default="quantile",
        description="Map of each column, fixed before training and common to all folds: quantile carries it to normal "
        "scores through a coarse monotone spline, standardise only centres and scales it.",
    )
    stages: Whole = Field(default=3, ge=1, le=64, description="Number of (mix, bend, twist) stages.")
    bins: Whole = Field(default=6, ge=2, le=256, description="Bins of each spline.")
    bound: float = Field(
        default=5.0, gt=0, le=100, description="Splines bend between minus and plus this, and are the identity outside."
    )
    held_out_fraction: float = Field(
        default=0.15, gt=0, lt=1, description="Part of the training rows of a fold kept aside to judge evaluations on."
    )
    max_steps: Whole = Field(
        default=100,
        ge=1,
        le=100_000,
        description="Adam steps on up to 600 training rows; more take up to twice as many.",
    )
    batch_size: Whole = Field(
        default=128, ge=1, le=1_000_000, description="Rows in a step, never fewer than four times the columns."
    )
    learning_rate: float = Field(default=0.03, gt=0, le=1, description="Step size at the start.")
    bend_penalty: float = Field(
        default=0.03,
        ge=0,
        le=1000,
        description="Weight in nats of the squared distance of spline parameters from the identity.",
    )
    mix_penalty: float = Field(
        default=0.01,
        ge=0,
        le=1000,
        description="Weight in nats of the squared distance of mixing matrices from their start.",
    )
    evaluate_every: Whole = Field(
        default=10, ge=1, le=100_000, description="Steps between two evaluations on the rows kept aside."
    )
    temperature: float = Field(
        default=0.02,
        ge=0,
        le=1000,
        description="Nats of loss on the rows kept aside that divide the weight of an evaluation by e, in the mean of "
        "weights that is kept; 0 keeps the best evaluation alone.",
    )
    gradient_floor: float = Field(
        default=0.003,
        gt=0,
        le=1,
        description="Adam divides no gradient by less, whole gradients having norm 1 at most.",
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32", description="Precision of training; latents are always computed in float64."
    )
    values_at_once: Whole = Field(
        default=20_000_000,
        ge=1000,
        le=10_000_000_000,
        description="Largest number of values (flows x columns x rows) in one stack, to bound memory.",
    )

    @model_validator(mode="after")
    def _maps_known(self) -> Self:
        try:
            maps = registry.load("flows.maps", self.maps)
            getattr(maps, "Settings", Settings).checked(self.map_settings, where="map_settings")
        except ConfigError as err:
            raise ValueError(str(err)) from None
        return self

"""Settings of plug-ins whose files do not hold them yet; a plug-in's own file goes first."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pidflow.models.dynamics import AttentionSettings
from pidflow.settings import Blocks, Settings, Span, Text, forwards


class Scenes(Settings):
    """Procedurally drawn scenes."""

    language_prior: float = Field(ge=0, le=1, description="Probability of an attribute typical of its shape.")


class EasyVqa(Settings):
    """Questions of the PyPI package easy-vqa."""

    split: Literal["train", "test"] = Field(description="The stand-in was trained on train.")


class Columns(Settings):
    """Name in the table of each field that is not called by its own name."""

    image: Text = Field(default="image", description="Image path below images.")
    question: Text = Field(default="question", description="The bare question.")
    answer: Text = Field(default="answer", description="The right answer.")
    options: Text = Field(default="options", description="A list of the answers offered; optional.")
    boxes: Text = Field(default="boxes", description="A list of [x, y, width, height] in pixels; optional.")
    task: Text = Field(default="task", description="The value that a task selects rows by; optional.")


class Table(Settings):
    """Any table with one question a row."""

    table: Text = Field(description="A .csv, .jsonl or .parquet file, one question a row.")
    images: Text = Field(description="The folder that image paths are relative to and may not leave.")
    columns: Columns = Field(
        default=Columns(), description="Name in the table of each field that is not called by its own name."
    )


class EdgeSettings(Settings):
    """An edge of attention in some blocks."""

    source: Span = Field(description="Positions attended to.")
    target: Span = Field(description="Positions that attend.")
    layers: Blocks = Field(description="Blocks that the intervention acts in.")

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        forwards(self.source, self.target)
        return self


class Pde(AttentionSettings):
    """Attention in continuous time, under one condition."""

    layers: Blocks = Field(description="Blocks that attend so.")


SETTINGS = {
    "data.readers": {"scenes": Scenes, "easy-vqa": EasyVqa, "table": Table},
    "interventions.kinds": {"cut": EdgeSettings, "keep": EdgeSettings, "random": EdgeSettings, "pde": Pde},
}

"""Key ``spectrum`` of the configuration: what is asked of a model, and how its predictions are read."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pidflow.plugins.settings import Id, Settings, Text, Unique, Whole
from pidflow.spectrum.words import ANSWERS, FORMATS, JOINT, LENSES, PASSES, REPLACEMENTS, VLM_LENS

Answers = Literal[ANSWERS]
_FOLD = Annotated[Whole, Field(ge=0, le=99)]


class Import(Settings):
    """Predictions or states that another program left, estimated again without a model."""

    model: Id = Field(description="What the model is called here; not an id of models.")
    task: Id = Field(description="What the questions are called here.")
    format: Literal[FORMATS] = Field(
        description="pid-lvlm: JSON of the published pipeline; vlm-lens: SQLite databases of VLM-Lens."
    )
    training: Text = Field(description="File of the part from which p(Y) and networks come.")
    held_out: Text = Field(description="File of the part that results are evaluated on.")
    vision: Text | None = Field(default=None, description="vlm-lens: layer whose pooled states are the vision source.")
    language: Text | None = Field(
        default=None, description="vlm-lens: layer whose pooled states are the language source."
    )

    @model_validator(mode="after")
    def _layers_named(self) -> Self:
        named = self.vision is not None and self.language is not None
        if (self.format == VLM_LENS) != named or (self.vision is None) != (self.language is None):
            verb = "needs" if self.format == VLM_LENS else "has no"
            raise ValueError(f"format {self.format} {verb} layers 'vision' and 'language'")
        return self


class Spectrum(Settings):
    """The spectrum of predictions: target `spectrum`, not part of the default run."""

    training: Annotated[list[_FOLD], Unique] = Field(
        description="Folds from which statistics of replacements come; results are evaluated on the others."
    )
    passes: Annotated[list[Literal[tuple(each for each in PASSES if each != JOINT)]], Unique] = Field(
        description="What is asked beside the joint pass."
    )
    replacements: Annotated[list[Literal[REPLACEMENTS]], Field(min_length=1), Unique] = Field(
        description="What stands in for the parts that a pass leaves out."
    )
    draws: Whole = Field(ge=1, le=100, description="Draws of noise and of other questions' tokens, averaged.")
    donors: Whole = Field(ge=2, le=10_000, description="Questions of the training fold whose tokens may stand in.")
    answers: Answers = Field(
        description="What predictions are over: options of each question (or all answers of the task where it offers "
        "none), letters of the options, the model's own answers to a question (top) or to all questions (clusters)."
    )
    answers_of: dict[Id, Answers] = Field(description="The same for single tasks, by id.")
    most: Whole = Field(ge=2, le=200, description="Largest number of answers where a question offers no options.")
    lens: Annotated[list[Literal[LENSES]], Unique] = Field(
        description="Read predictions from every layer too: through the final norm (norm), without it (no-norm)."
    )
    imports: list[Import] = Field(description="Predictions that other programs made.")

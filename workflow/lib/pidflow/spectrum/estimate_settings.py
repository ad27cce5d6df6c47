"""Keys ``spectrum_pid`` and ``breadth`` of the configuration: how predictions are decomposed, what a study is about."""

from typing import Annotated, Literal

from pydantic import Field

from pidflow.plugins.settings import Id, Settings, Text, Unique, Whole
from pidflow.spectrum.modes import LABELS, LANGUAGE_PASSES, LENSES, MODES, VISION_PASSES
from pidflow.spectrum.words import REPLACEMENTS, SCORES


class SpectrumPid(Settings):
    """How predictions are decomposed; target `spectrum`, not part of the default run."""

    modes: Annotated[list[Literal[MODES]], Field(min_length=1), Unique] = Field(
        description="repaired, and published: the settings of OpenReview 6WsBGk4Iag, faults included, for comparison."
    )
    score: Literal[SCORES] = Field(description="How an option is scored; published has its own.")
    threshold: float = Field(ge=0, le=1, description="Option mass below which a prediction is uniform; 0 for never.")
    labels: Literal[LABELS] = Field(
        description="What the answer is told as: word, place among the options, or words where there are at most 64."
    )
    vision: Literal[VISION_PASSES] = Field(description="The pass that stands for vision alone.")
    language: Literal[LANGUAGE_PASSES] = Field(description="The pass that stands for language alone.")
    replacement: Literal[REPLACEMENTS] = Field(description="What stands in for the other source in these passes.")
    lenses: Annotated[list[Literal[LENSES]], Unique] = Field(
        description="Decompose every layer through these: norm, no-norm, or tuned on the training folds."
    )
    calibrate: bool = Field(
        description="Hold predictions of single sources against the joint ones first, cross-fitted over images."
    )


class Candidate(Settings):
    """A model that a study is about, in this run or not."""

    hub: Text = Field(description="Id on the hub.")
    group: Id = Field(description="Family in the sense of the study.")
    size: float = Field(gt=0, le=10_000, description="Billions of parameters.")
    blocks: Whole = Field(ge=1, le=1000, description="Decoder blocks.")
    reachable: bool = Field(description="Whether it loads without code from the network.")
    why: Text | None = Field(default=None, description="Why it is not reachable, or what it asks for first.")


class PublishedTask(Settings):
    """A data set that a study is about."""

    title: Text = Field(description="Its name.")
    source: Text = Field(description="Where its questions come from.")
    reader: Id = Field(description="The reader that takes them.")
    reachable: bool = Field(description="Whether the files can be had without asking.")
    why: Text | None = Field(default=None, description="Why not, or what it asks for first.")


class Breadth(Settings):
    """A study of many models: what it is about, and what was expected before it ran."""

    catalogue: dict[Id, Candidate] = Field(
        description="Models that the study is about, by id; those run are told apart."
    )
    tasks: dict[Id, PublishedTask] = Field(description="Data sets that the study is about, by id of the task.")
    expected: Text | None = Field(
        description="YAML file with orders of models that were written down before; null for none."
    )

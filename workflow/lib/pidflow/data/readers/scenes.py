"""Scenes drawn for evaluation: balanced answers, seeds that no training scene uses."""

import io
from pathlib import Path

import numpy as np
from pydantic import Field

from pidflow.data import scenes
from pidflow.data.items import Item, Reading
from pidflow.errors import ConfigError
from pidflow.plugins import settings

_SEEDS_PER_TASK = 1_000_000


class Settings(settings.Settings):
    """Scenes are drawn anew for each task; the items carry the pictures."""

    language_prior: float = Field(ge=0, le=1, description="Probability of an attribute typical of its shape.")


def folder(settings: Settings) -> Path | None:
    """None: the items carry their pictures."""
    return None


def tables(settings: Settings) -> list[Path]:
    """None: questions are made with the scenes."""
    return []


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """Draw ``count`` scenes with one question each of the scene task ``select``.

    Answers are balanced exactly (as far as ``count`` divides) for tasks with a fixed set of them; the answers of
    ``choose-attr`` and ``choose-cat`` follow the scenes, so that the language prior shows in them.

    Raises
    ------
    ConfigError
        If ``select`` is not a scene task or asks for more scenes than its range of seeds holds.
    """
    if select not in scenes.TASKS:
        raise ConfigError(f"unknown scene task '{select}' in select, expected one of: {', '.join(scenes.TASKS)}")
    if count > _SEEDS_PER_TASK:
        raise ConfigError(f"task '{select}' asks for {count} scenes, at most {_SEEDS_PER_TASK} can be drawn")
    first = scenes.FIRST_EVALUATION_SEED + (seed * len(scenes.TASKS) + scenes.TASKS.index(select)) * _SEEDS_PER_TASK
    wanted = scenes.answers(select)
    balanced = select not in ("choose-attr", "choose-cat")
    items = []
    for index in range(count):
        rng = np.random.default_rng(first + index)
        answer = wanted[index % len(wanted)] if balanced else None
        scene, question = scenes.ask_about_new_scene(select, rng, language_prior=settings.language_prior, answer=answer)
        stored = io.BytesIO()
        scenes.render(scene).save(stored, "PNG")
        name = f"{select}-{index:06d}"
        items.append(
            Item(
                item_id=name,
                image_id=name,
                image_path=f"{name}.png",
                question=question.text,
                answer=question.answer,
                options=question.options,
                boxes=question.boxes,
                objects=question.objects,
                picture=stored.getvalue(),
            )
        )
    return Reading(tuple(items))

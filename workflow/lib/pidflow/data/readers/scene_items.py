"""Scenes drawn for evaluation: balanced answers, seeds that no training scene uses."""

from pathlib import Path

import numpy as np

from pidflow.data import scenes
from pidflow.data.items import Item
from pidflow.errors import ConfigError

_SEEDS_PER_TASK = 1_000_000


def draw(task: str | None, *, count: int, language_prior: float, folder: Path, seed: int) -> list[Item]:
    """Draw ``count`` scenes with one question each into ``folder`` as PNG, and return the questions.

    Answers are balanced exactly (as far as ``count`` divides) for tasks with a fixed set of them; the answers of
    ``choose-attr`` and ``choose-cat`` follow the scenes, so that the language prior shows in them.

    Raises
    ------
    ConfigError
        If ``task`` is not a scene task or asks for more scenes than its range of seeds holds.
    """
    if task not in scenes.TASKS:
        raise ConfigError(f"unknown scene task '{task}' in select, expected one of: {', '.join(scenes.TASKS)}")
    if count > _SEEDS_PER_TASK:
        raise ConfigError(f"task '{task}' asks for {count} scenes, at most {_SEEDS_PER_TASK} can be drawn")
    folder.mkdir(parents=True, exist_ok=True)
    first = scenes.FIRST_EVALUATION_SEED + (seed * len(scenes.TASKS) + scenes.TASKS.index(task)) * _SEEDS_PER_TASK
    wanted = scenes.answers(task)
    balanced = task not in ("choose-attr", "choose-cat")
    items = []
    for index in range(count):
        rng = np.random.default_rng(first + index)
        answer = wanted[index % len(wanted)] if balanced else None
        scene, question = scenes.ask_about_new_scene(task, rng, language_prior=language_prior, answer=answer)
        name = f"{index:06d}"
        scenes.render(scene).save(folder / f"{name}.png")
        items.append(
            Item(
                item_id=f"{task}-{name}",
                image_id=f"{task}-{name}",
                image_path=f"{name}.png",
                question=question.text,
                answer=question.answer,
                options=question.options,
                boxes=question.boxes,
            )
        )
    return items

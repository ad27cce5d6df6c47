"""Stage ``probe_statistics``: what replacements of picture and words are made of, from the training folds alone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.models.inputs import Batch
from pidflow.models.probe_inputs import LANGUAGE, QUESTION_PART, enter
from pidflow.spectrum.noise_check import NoiseCheck, check_noise
from pidflow.spectrum.replacements import Donor, Moments, PartStatistics, Statistics, generator
from pidflow.stages._checked import MODEL_CHECK
from pidflow.stages._probes import as_asked, training_rows, write_statistics
from pidflow.stages._questions import Questions, asking

log = logging.getLogger(__name__)


def run(
    *,
    items: str,
    output: str,
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    training: Sequence[int],
    donors: int = 32,
    answers: str = "options",
    seed: int = 0,
    instruction: str | None = None,
    image_root: str | None = None,
    threads: int | None = None,
    kept_check: Mapping[str, str] | None = None,
) -> None:
    """Write mean and deviation of the embeddings of each part, donors, and how far noise lies from real tokens.

    Parameters
    ----------
    items
        Items table.
    output
        The statistics (HDF5).
    model, model_id, task, instruction, image_root, threads, kept_check
        See :func:`pidflow.stages._extraction.run`.
    training
        Folds that everything is taken from.
    donors
        Questions of these folds whose tokens are kept, to stand in for others'.
    answers
        What is scored, one of :data:`pidflow.spectrum.words.ANSWERS`: letters come with lines of options in the prompt.
    seed
        Which questions are donors; draws of the noise check.

    Raises
    ------
    ConfigError, DataError
        With model and task in front.
    """
    job = {"items": items, "model": model, "model_id": model_id, "task": task, "threads": threads}
    job |= {"instruction": instruction, "image_root": image_root, "kept_check": kept_check}
    job["shaped"] = partial(as_asked, answers=answers)
    with asking(**job) as (questions, identity):
        rows = np.flatnonzero(training_rows(questions.table, training))
        chosen = set(generator(seed, "donors").permutation(rows)[:donors].tolist())
        collected = _Collected(questions, chosen, images=list(questions.table["image_id"]))
        for _ in questions.run(collected.add, rows):
            pass
        statistics = collected.statistics()
        checks = _checks(statistics, seed=seed)
        identity = replace(identity, settings=store.digest_of([sorted(training), donors, answers, seed]))
        prompt = questions.loaded.prompt
        attrs = {"training": sorted(training), "questions": len(rows), "seed": seed, "prompt": prompt}
        attrs[MODEL_CHECK] = asdict(questions.check)
        write_statistics(output, statistics, checks, identity=identity, attrs=attrs)
    for name, part in statistics.parts.items():
        log.info("%s, %s: %d tokens of part %s", model_id, task, part.tokens, name)


class _Collected:
    """Moments of every part, and the tokens of donors."""

    def __init__(self, questions: Questions, chosen: set[int], *, images: list[str]) -> None:
        self.questions, self.chosen, self.images = questions, chosen, images
        self.moments: dict[str, Moments] = {}
        self.donors: dict[int, Donor] = {}

    def add(self, batch: Batch, rows: np.ndarray) -> None:
        """Take note of one batch."""
        parts = enter(self.questions.loaded, batch).parts()
        del parts[QUESTION_PART]  # its words belong to the language
        values = {name: part.values.float().cpu().numpy() for name, part in parts.items()}
        of_row = {name: part.rows.cpu().numpy() for name, part in parts.items()}
        for name, tokens in values.items():
            self.moments.setdefault(name, Moments()).add(tokens)
        for place, row in enumerate(rows.tolist()):
            if row in self.chosen:
                tokens = {name: values[name][of_row[name] == place] for name in values}
                question = self.questions.examples[row].question
                self.donors[row] = Donor(self.questions.names[row], self.images[row], question, tokens)

    def statistics(self) -> Statistics:
        """What the replacements are made of."""
        empty = [name for name in ("image", LANGUAGE) if name not in self.moments or not self.moments[name].count]
        if empty:
            raise DataError(f"the training folds hold no tokens of {' and '.join(empty)}; check the prompt and spans")
        parts = {
            name: PartStatistics(np.asarray(each.mean), each.deviation, each.count)
            for name, each in self.moments.items()
        }
        return Statistics(parts, tuple(self.donors[row] for row in sorted(self.donors)))


def _checks(statistics: Statistics, *, seed: int) -> list[NoiseCheck]:
    """How far noise lies from the donors' real tokens, part by part."""
    found = []
    for name, part in statistics.parts.items():
        tokens = [each.parts[name] for each in statistics.donors]
        groups = np.repeat(np.arange(len(tokens)), [len(each) for each in tokens])
        check = check_noise(name, np.concatenate(tokens), groups, part, seed=seed)
        found.append(check)
        log.info(
            "noise for %s: nearest real token at %.3g (real ones: %.3g), length %.3g (%.3g), told apart in %.0f %%",
            *(name, check.nearest_noise, check.nearest_real, check.norm_noise, check.norm_real, 100 * check.accuracy),
        )
    return found

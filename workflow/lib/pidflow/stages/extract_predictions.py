"""Stage ``extract_predictions``: what a model predicts from all of its input, and from each part of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.models.inputs import Batch
from pidflow.models.option_scores import (
    OptionReader,
    OptionTokens,
    check_letters,
    left_over,
    lens_scores,
    score_options,
)
from pidflow.models.own_answers import own_answers
from pidflow.models.probe_inputs import (
    IMAGE_PART,
    LANGUAGE,
    QUESTION_PART,
    PassOutput,
    check_entry,
    enter_unasked,
    joint_pass,
    masked_pass,
    picture_parts,
    plain_pass,
    without_image,
)
from pidflow.spectrum.options import clusters, distinct, offered_options, right_place, task_options
from pidflow.spectrum.predictions import Pass, Predictions, pass_key
from pidflow.spectrum.predictions_file import write_predictions
from pidflow.spectrum.replacements import Statistics
from pidflow.spectrum.scores import entropy_bits
from pidflow.spectrum.words import CLUSTERS, JOINT, MEAN, NO_IMAGE, REPLACES, TOP
from pidflow.stages._checked import MODEL_CHECK
from pidflow.stages._probes import as_asked, read_statistics, replacements_of, training_rows
from pidflow.stages._progress import progress_of
from pidflow.stages._questions import Questions, asking

log = logging.getLogger(__name__)


def run(
    *,
    items: str,
    statistics: str,
    output: str,
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    training: Sequence[int],
    passes: Sequence[str],
    replacements: Sequence[str],
    draws: int = 3,
    answers: str = "options",
    most: int = 32,
    lens: Sequence[str] = (),
    answer_tokens: int = 8,
    seed: int = 0,
    instruction: str | None = None,
    image_root: str | None = None,
    threads: int | None = None,
    kept_check: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> None:
    """Run the joint pass and those asked for over the items; write raw option log-probabilities of all of them.

    Parameters
    ----------
    items, statistics
        Items table, and what :mod:`pidflow.stages.probe_statistics` made of its training folds.
    output
        The predictions (see :mod:`pidflow.spectrum.predictions_file`).
    model, model_id, task, instruction, image_root, threads, kept_check, progress
        See :func:`pidflow.stages._extraction.run`.
    training
        Folds that statistics come from.
    passes, replacements, draws
        What is asked beside the joint pass, what stands in for what a pass leaves out (see
        :mod:`pidflow.spectrum.words`), and how often it is drawn; the mean is not drawn.
    answers, most
        What predictions are over, one of :data:`pidflow.spectrum.words.ANSWERS`, and how many answers at most where a
        question offers none.
    lens
        How every layer is read; nothing: only the model's own output is.
    answer_tokens
        Bound on the tokens of an answer of the model's own.
    seed
        Of the draws.

    Raises
    ------
    ConfigError, DataError, NumericsError
        With model and task in front.
    """
    job = {"items": items, "model": model, "model_id": model_id, "task": task, "threads": threads}
    job |= {"instruction": instruction, "image_root": image_root, "kept_check": kept_check}
    job["shaped"] = partial(as_asked, answers=answers)
    with asking(**job) as (questions, identity):
        loaded, table = questions.loaded, questions.table
        trained = training_rows(table, training)
        made, checks = read_statistics(statistics, expected=identity)
        how = {"training": sorted(training), "passes": list(passes), "replacements": list(replacements)}
        how |= {"draws": draws, "answers": answers, "most": most, "lens": list(lens), "seed": seed}
        written = _options(questions, table, trained, kind=answers, most=most, answer_tokens=answer_tokens)
        probe = _Probe(questions, table, made, written, how=how)
        probe.run(progress=progress)
        about = {"model": model_id, "task": task, "family": loaded.family.name, "revision": loaded.revision}
        about |= {"prompt": loaded.prompt, "prompt_name": loaded.prompting.name, "dtype": identity.dtype}
        about |= {"prompt_digest": loaded.prompting.digest, "instruction": loaded.prompting.instruction}
        about[MODEL_CHECK] = asdict(questions.check)
        predictions = probe.predictions(trained, about=about | how | {"noise_checks": checks})
        identity = replace(identity, settings=store.digest_of(how), made_from=store.checksum_of(statistics))
        write_predictions(output, predictions, identity=identity)
    log.info("%s, %s: %d questions, passes %s", model_id, task, len(table), ", ".join(predictions.passes))


def _options(
    questions: Questions, table: pd.DataFrame, trained: np.ndarray, *, kind: str, most: int, answer_tokens: int
) -> list[tuple[str, ...]]:
    """The answers that each question's prediction is over, as the model would write them."""
    examples = questions.examples
    if kind in (CLUSTERS, TOP):
        rows = np.flatnonzero(trained) if kind == CLUSTERS else np.arange(len(table))
        said = _spoken(questions, rows, count=1 if kind == CLUSTERS else most, at_most=answer_tokens)
        if kind == CLUSTERS:
            return [clusters((of_row[0] for of_row in said.values()), most=most)] * len(table)
        return [
            offered_options(distinct(said[row], most=most), where=f"{examples[row].name}, the model's own answers:")
            for row in range(len(table))
        ]
    everything = None
    found = []
    for example in examples:
        if not example.options:
            everything = everything or task_options(table["answer"], most=most)
        found.append(offered_options(example.options or everything or (), where=example.name))
    return found


def _spoken(questions: Questions, rows: np.ndarray, *, count: int, at_most: int) -> dict[int, list[str]]:
    """By row the model's own answers with all of its input."""
    loaded = questions.loaded

    def answer(batch: Batch, _: np.ndarray) -> list[list[str]]:
        joint, _ = joint_pass(loaded, batch)
        return own_answers(loaded, batch, joint.captured.logits, joint.cache, count=count, at_most=at_most)

    found: dict[int, list[str]] = {}
    for chunk, texts in questions.run(answer, rows):
        found.update(zip(chunk.tolist(), texts, strict=True))
    return found


class _Probe:
    """One model over one table of questions, in all passes."""

    def __init__(
        self,
        questions: Questions,
        table: pd.DataFrame,
        statistics: Statistics,
        written: list[tuple[str, ...]],
        *,
        how: Mapping[str, Any],
    ) -> None:
        self.questions, self.table, self.statistics, self.how = questions, table, statistics, how
        self.written, self.loaded = written, questions.loaded
        self.reader = OptionReader(self.loaded)
        lettered = [each for each, example in zip(written, questions.examples, strict=True) if example.offered]
        for each in dict.fromkeys(lettered):
            check_letters(self.reader, each)
        self.options = [
            self.reader(each, where=example.name) for each, example in zip(written, questions.examples, strict=True)
        ]
        self.most = max(map(len, written))
        self.asked = [
            {"item": item, "image": image, "question": example.question}
            for item, image, example in zip(table["item_id"], table["image_id"], questions.examples, strict=True)
        ]
        self.scores: dict[tuple[str, str | None], dict[str, np.ndarray]] = {}
        self.sources: dict[str, np.ndarray] = {}
        self.rest: torch.Tensor | float = 0.0
        self.entry_difference: float | None = None

    def run(self, *, progress: bool | None) -> None:
        """All questions, batch by batch."""
        n = len(self.questions)
        with progress_of(n, shown=progress) as bar:
            for rows, rest in self.questions.run(self._ask, np.arange(n)):
                self.rest = self.rest + rest
                bar.update(len(rows))

    def _ask(self, batch: Batch, rows: np.ndarray) -> torch.Tensor:
        """All passes over one batch; gives what of the first token's probability belongs to no option, ``(V,)``."""
        if self.entry_difference is None:
            self.entry_difference = check_entry(self.loaded, batch)
            log.info("a pass that replaces nothing differs from the joint one by %.1e", self.entry_difference)
        joint, fed = joint_pass(self.loaded, batch)
        for name, values in fed.sources().items():
            place = self.sources.setdefault(name, np.zeros((len(self.questions), values.shape[1]), dtype=np.float32))
            place[rows] = values.cpu().numpy()
        self._keep(JOINT, None, 0, batch, rows, joint)
        asked = [self.asked[row] for row in rows]
        unasked = enter_unasked(self.loaded, batch) if any(map(_hides_question, self.how["passes"])) else None
        for name in self.how["passes"]:
            if name == NO_IMAGE:
                alone = without_image(self.loaded, [each["question"] for each in asked])
                self._keep(name, None, 0, alone, rows, plain_pass(self.loaded, alone))
                continue
            wanted = [part for each in REPLACES[name] for part in self._parts(each, fed.parts())]
            for kind in self.how["replacements"]:
                for draw in range(self._draws(kind)):
                    new = replacements_of(
                        fed, self.statistics, wanted, kind=kind, draw=draw, seed=self.how["seed"], asked=asked
                    )
                    if unasked is not None and _hides_question(name) and IMAGE_PART not in new:
                        new[IMAGE_PART] = unasked.parts()[IMAGE_PART].values
                    output = masked_pass(self.loaded, batch, fed.replaced(new))
                    self._keep(name, kind, draw, batch, rows, output)
        options = [self.options[row] for row in rows]
        return left_over(joint.captured.logits, options).double().sum(0)

    @staticmethod
    def _parts(part: str, there: Mapping[str, Any]) -> list[str]:
        return picture_parts(there) if part == IMAGE_PART else [part]

    def _draws(self, kind: str | None) -> int:
        return 1 if kind in (None, MEAN) else self.how["draws"]

    def _keep(self, name: str, kind: str | None, draw: int, batch: Batch, rows: np.ndarray, output: PassOutput) -> None:
        """Scores of one pass over one batch."""
        options: list[OptionTokens] = [self.options[row] for row in rows]
        captured, sizes = output.captured, (self._draws(kind), len(self.questions), self.most)
        arrays = self.scores.setdefault((name, kind), {})
        for variant in self.how["lens"]:
            found = lens_scores(self.loaded, captured.last, options, width=self.most, variant=variant)
            shape = (sizes[0], len(found), *sizes[1:])
            place = arrays.setdefault(f"lens/{variant}", np.full(shape, np.nan, dtype=np.float32))
            place[draw][:, rows] = found.numpy()
        scored = score_options(self.loaded, batch, captured.logits, output.cache, options, width=self.most)
        for which in ("begins", "sequence", "bare"):
            place = arrays.setdefault(which, np.full(sizes, np.nan, dtype=np.float32))
            place[draw, rows] = getattr(scored, which).numpy()
        greedy = arrays.setdefault("greedy", np.full(sizes[:2], -1, dtype=np.int64))
        greedy[draw, rows] = captured.logits.argmax(-1).cpu().numpy()

    def predictions(self, trained: np.ndarray, *, about: Mapping[str, Any]) -> Predictions:
        """The record of everything."""
        longest = max(len(ids) for each in self.options for ids in each.written)
        token_ids = np.full((len(self.options), self.most, longest), -1)
        bare_ids = np.full((len(self.options), self.most), -1)
        for row, each in enumerate(self.options):
            bare_ids[row, : len(each.bare)] = each.bare
            for place, ids in enumerate(each.written):
                token_ids[row, place, : len(ids)] = ids
        answers = [right_place(each, answer) for each, answer in zip(self.written, self.table["answer"], strict=True)]
        own = self.how["answers"] in (CLUSTERS, TOP)
        if max(answers) < 0 and not own:
            raise DataError("no question has its right answer among its options; check the columns answer and options")
        spelled = {
            text: self.reader.spelled(text) for text in dict.fromkeys(each for row in self.written for each in row)
        }
        rest = np.asarray(self.rest) / len(self.options)
        truncation = {"first_token_rest": float(rest.sum()), "bound_bits": entropy_bits(rest)}
        return Predictions(
            item_id=self.table["item_id"].to_numpy(dtype=object),
            image_id=self.table["image_id"].to_numpy(dtype=object),
            fold=self.table["fold"].to_numpy(),
            training=trained,
            options=tuple(
                each if own else example.offered or each
                for each, example in zip(self.written, self.questions.examples, strict=True)
            ),
            answer=np.array(answers),
            token_ids=token_ids,
            bare_ids=bare_ids,
            **self.sources,
            passes={pass_key(*which): _pass(*which, arrays) for which, arrays in self.scores.items()},
            vocabulary=len(rest),
            about={**about, "spellings": spelled, "entry_difference": self.entry_difference, "truncation": truncation},
        )


def _hides_question(name: str) -> bool:
    return bool({LANGUAGE, QUESTION_PART} & set(REPLACES[name]))


def _pass(name: str, kind: str | None, arrays: Mapping[str, np.ndarray]) -> Pass:
    lens = {key.removeprefix("lens/"): values for key, values in arrays.items() if key.startswith("lens/")}
    return Pass(name=name, replacement=kind, lens=lens, **{k: v for k, v in arrays.items() if "/" not in k})

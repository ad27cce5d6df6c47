"""From predictions to the spectrum of a task: what the model says in the end, its layers through a lens."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from pidflow.errors import DataError
from pidflow.names import ATOMS
from pidflow.spectrum.clustered import clustered_predictions, decompose_sources, source_table
from pidflow.spectrum.decompose import Found, PredictedRows, decompose_predictions, image_groups
from pidflow.spectrum.labels import Labels, labels_of
from pidflow.spectrum.modes import AUTO, CLUSTERS, COUPLING, NETWORKS, NORM, PLACE, PUBLISHED, REPAIRED, TUNED
from pidflow.spectrum.planted import planted_rows
from pidflow.spectrum.predictions import Predictions, pass_key
from pidflow.spectrum.published import Part, decompose_published
from pidflow.spectrum.results import Checked, PassResult, Skipped, Spectrum, TaskSpectrum, Twin
from pidflow.spectrum.scores import TAU, restricted, right, right_published, scored
from pidflow.spectrum.tuned_lens import calibrated, fit_lens, through_lens
from pidflow.spectrum.words import (
    BARE,
    BEGINS,
    JOINT,
    LANGUAGE_ONLY,
    NO_IMAGE,
    NOISE,
    QUESTION_MASKED,
    VISION_ONLY,
)

log = logging.getLogger(__name__)

# What is left for something else is no less probable: its logarithm is read through a lens.
_LEAST = 1e-6


@dataclass(frozen=True)
class How:
    """How a spectrum is taken; the keys of config section ``spectrum``.

    Attributes
    ----------
    modes
        ``repaired``, ``published``.
    score, threshold, labels
        How options are scored, below which option mass a prediction is uniform, what the answer is told as.
    vision, language, replacement
        Passes that stand for the single sources, and by what their other half is replaced. Mode ``published`` has its
        own.
    lenses
        ``norm``, ``no-norm``, ``tuned``.
    calibrate
        Whether predictions of single sources are first held against the joint ones (:func:`calibrated`).
    """

    modes: Sequence[str] = (REPAIRED,)
    score: str = BEGINS
    threshold: float = TAU
    labels: str = AUTO
    vision: str = QUESTION_MASKED
    language: str = LANGUAGE_ONLY
    replacement: str | None = NOISE
    lenses: Sequence[str] = (NORM,)
    calibrate: bool = True

    @property
    def vision_key(self) -> str:
        """The pass that stands for vision alone."""
        return pass_key(self.vision, self.replacement)

    @property
    def language_key(self) -> str:
        """The pass that stands for language alone."""
        return pass_key(self.language, None if self.language == NO_IMAGE else self.replacement)


def estimate_spectrum(
    predictions: Predictions, how: How | None = None, *, model: str, task: str, seed: int = 0
) -> TaskSpectrum:
    """Everything that the predictions of a model on a task tell.

    All questions count in mode ``repaired``; a tuned lens and mode ``published`` learn from the training part and are
    evaluated on the others.

    Raises
    ------
    DataError
        When a pass, a score or a lens is missing, or there are too few questions.
    """
    how = how or How()
    keys = *_standing_for(how, predictions), JOINT
    labels = labels_of(predictions.options, how.labels, open_answers=predictions.open_answers)
    truncation = predictions.about.get("truncation", {}) if predictions.open_answers else {}
    task_of = _Task(predictions, how, keys, labels, model, task, seed)
    spectra, skipped = [], []
    for what, make in task_of.wanted():
        try:
            spectra.append(make())
        except _Impossible as err:
            skipped.append(Skipped(what, str(err)))
            log.warning("%s: left out, %s", what, err)
            continue
        parts = "  ".join(f"{atom} {spectra[-1].bits[atom]:.3f}" for atom in ATOMS)
        log.info("%s, %d questions: %s bits", what, spectra[-1].questions, parts)
    return TaskSpectrum(
        model=model,
        task=task,
        labels=task_of.labels.names,
        label_kind=task_of.labels.kind,
        score=how.score,
        threshold=how.threshold,
        vision=keys[0],
        language=keys[1],
        truncated=truncation.get("first_token_rest"),
        truncated_bits=truncation.get("bound_bits"),
        passes=tuple(_pass_result(predictions, key, how, seed) for key in predictions.passes),
        spectra=tuple(spectra),
        skipped=tuple(skipped),
    )


class _Impossible(Exception):
    """What a part of the predictions does not allow."""


def _refuse(err: _Impossible) -> Spectrum:
    raise err


@dataclass(frozen=True)
class _Task:
    predictions: Predictions
    how: How
    keys: tuple[str, str, str]
    labels: Labels
    model: str
    task: str
    seed: int

    def wanted(self) -> Iterator[tuple[str, Callable[[], Spectrum]]]:
        """What each spectrum is called in the log, and how it is made."""
        if REPAIRED in self.how.modes:
            yield "predictions", self.said
            yield "clustered sources", self.of_sources
        if PUBLISHED in self.how.modes:
            yield "as published", self.published
        for lens in self.how.lenses:
            try:
                layers = self._layers(lens)
            except _Impossible as err:
                yield f"layers through lens {lens}", partial(_refuse, err)
                continue
            for layer in range(layers):
                yield f"layer {layer} through lens {lens}", lambda lens=lens, layer=layer: self.layer(lens, layer)

    def said(self) -> Spectrum:
        """What the model says in the end, with a check over clusters and a planted twin."""
        rows = self._rows([self._probabilities(key) for key in self.keys])
        found, rows = self._decomposed(rows)
        check = clustered_predictions(rows, seed=self.seed)
        planted, truth = planted_rows(found.bits, len(self.labels), len(rows), seed=self.seed)
        again = self._spectrum(decompose_predictions(planted, seed=self.seed), COUPLING, planted.images)
        twin = Twin(truth=truth, bits=again.bits, se=again.se, groups=again.groups)
        return replace(self._spectrum(found, COUPLING, rows.images), check=Checked(**asdict(check)), twin=twin)

    def of_sources(self) -> Spectrum:
        """What clusters of the mean embeddings tell about the joint predictions."""
        joint = self._probabilities(JOINT)
        table = source_table(self.predictions.vision, self.predictions.language, joint, seed=self.seed)
        found = decompose_sources(table, joint, self.predictions.image_id, seed=self.seed)
        return self._spectrum(found, CLUSTERS, self.predictions.image_id)

    def published(self) -> Spectrum:
        """Letters, one draw, the published networks."""
        try:
            parts = self._as_published()
            found = decompose_published(*parts, seed=self.seed)
        except DataError as err:
            raise _Impossible(str(err)) from err
        return self._spectrum(found, NETWORKS, parts[1].rows.images, mode=PUBLISHED)

    def _as_published(self) -> list[Part]:
        """Training part and others, scored as the published pipeline does."""
        places = labels_of(self.predictions.options, PLACE)
        keys = JOINT, pass_key(VISION_ONLY, NOISE), pass_key(LANGUAGE_ONLY, NOISE)
        first = replace(self.predictions, passes={key: _first_draw(self.predictions[key]) for key in keys})
        given = [places.spread(scored(first, key, score=BARE, threshold=TAU).probabilities) for key in keys]
        rows = PredictedRows(given[1], given[2], given[0], self.predictions.image_id)
        training = self.predictions.training
        return [
            Part(rows.take(mask), self.predictions.vision[mask], self.predictions.language[mask])
            for mask in (training, ~training)
        ]

    def layer(self, lens: str, layer: int) -> Spectrum:
        """What a layer states through a lens, by the repaired estimate; no threshold acts."""
        kept = np.ones(len(self.predictions), dtype=bool)
        if lens == TUNED:
            kept = ~self.predictions.training
            if not self.predictions.training.any() or not kept.any():
                raise _Impossible("a tuned lens needs a training part and others, found only one of them")
            given = self._tuned(layer, kept)
        else:
            given = [np.mean([self._read(key, lens, layer, draw) for draw in self._draws(key)], 0) for key in self.keys]
        rows = self._rows(given).take(kept) if lens != TUNED else PredictedRows(*given, self.predictions.image_id[kept])
        found, rows = self._decomposed(rows)
        return self._spectrum(found, COUPLING, rows.images, lens=lens, layer=layer)

    def _decomposed(self, given: PredictedRows) -> tuple[Found, PredictedRows]:
        """The decomposition, and the predictions that it is of."""
        rows = calibrated(given, seed=self.seed) if self.how.calibrate else given
        return decompose_predictions(rows, given=given, seed=self.seed), rows

    def _tuned(self, layer: int, kept: np.ndarray) -> list[np.ndarray]:
        """Predictions of the rows kept through a map fitted on the others, over all three passes together."""
        scores = {
            key: [
                _label_scores(self.predictions[key].lens[NORM][draw, layer], self.labels) for draw in self._draws(key)
            ]
            for key in self.keys
        }
        final = {key: self._probabilities(key) for key in self.keys}
        training = [each[~kept] for key in scores for each in scores[key]]
        wanted = [final[key][~kept] for key in scores for _ in scores[key]]
        lens = fit_lens(np.concatenate(training), np.concatenate(wanted))
        return [np.mean([through_lens(each[kept], lens) for each in scores[key]], axis=0) for key in self.keys]

    def _read(self, key: str, lens: str, layer: int, draw: int) -> np.ndarray:
        scores = self.predictions[key].lens[lens][draw, layer]
        scores = np.where(np.isnan(scores), -np.inf, scores)
        return self.labels.spread(np.exp(scores) if self.labels.open else restricted(scores))

    def _draws(self, key: str) -> range:
        return range(self.predictions[key].draws)

    def _layers(self, lens: str) -> int:
        """Layers that were read through a lens."""
        read = NORM if lens == TUNED else lens
        for key in self.keys:
            if read not in self.predictions[key].lens:
                raise _Impossible(
                    f"the pass {key} was not read through lens '{read}', it has "
                    f"{', '.join(self.predictions[key].lens) or 'none'}; see spectrum.lens"
                )
        return self.predictions[JOINT].lens[read].shape[1]

    def _probabilities(self, key: str) -> np.ndarray:
        how = {"score": self.how.score, "threshold": self.how.threshold, "closed": not self.labels.open}
        return self.labels.spread(scored(self.predictions, key, **how).probabilities)

    def _rows(self, given: list[np.ndarray]) -> PredictedRows:
        return PredictedRows(*given, self.predictions.image_id)

    def _spectrum(
        self,
        found: Found,
        method: str,
        images: np.ndarray,
        *,
        mode: str = REPAIRED,
        lens: str | None = None,
        layer: int | None = None,
    ) -> Spectrum:
        return Spectrum(
            model=self.model,
            task=self.task,
            mode=mode,
            method=method,
            lens=lens,
            layer=layer,
            questions=len(images),
            images=len(np.unique(images)),
            bits=found.bits,
            replicates={name: values.tolist() for name, values in found.replicates.items()},
            entropy=found.entropy,
            gap_bits=None if np.isnan(found.gap_bits) else found.gap_bits,
            offset=found.offset,
            moved=found.moved,
            raw=found.raw,
            raw_sum=sum(found.bits[atom] for atom in ATOMS),
            clipped_sum=found.clipped_sum,
            check=None,
            twin=None,
            warnings=found.warnings,
        )


def _standing_for(how: How, predictions: Predictions) -> tuple[str, str]:
    """Keys of the passes that stand for vision and for language alone; imports have fewer, without a replacement."""
    found = []
    for wanted, name in ((how.vision_key, VISION_ONLY), (how.language_key, LANGUAGE_ONLY)):
        others = pass_key(name, how.replacement), pass_key(name)
        key = next((each for each in (wanted, *others) if each in predictions.passes), wanted)
        if key != wanted:
            log.warning("no pass %s: %s stands for that source alone", wanted, key)
        found.append(key)
    return found[0], found[1]


def _first_draw(each):
    return replace(each, begins=each.begins[:1], sequence=each.sequence[:1], bare=each.bare[:1], greedy=each.greedy[:1])


def _label_scores(scores: np.ndarray, labels: Labels) -> np.ndarray:
    """Log-probabilities ``(n, K)`` of options as those of labels ``(n, ky)``, NaN where there is none."""
    out = np.full((len(scores), len(labels)), np.nan)
    rows, places = np.nonzero(labels.of_option >= 0)
    out[rows, labels.of_option[rows, places]] = scores[rows, places]
    if labels.open:
        out[:, -1] = np.log(np.maximum(1.0 - np.exp(np.where(np.isnan(out), -np.inf, out)).sum(axis=1), _LEAST))
    return out


def _pass_result(predictions: Predictions, key: str, how: How, seed: int) -> PassResult:
    groups = image_groups(predictions.image_id, seed=seed)
    one_rule = right(predictions, key, score=how.score).mean(axis=0)
    published = right_published(predictions, key).mean(axis=0)
    closed = not predictions.open_answers
    found = scored(predictions, key, score=how.score, threshold=how.threshold, closed=closed)
    masks = [np.ones(len(groups), dtype=bool), *(groups != group for group in range(groups.max() + 1))]
    return PassResult(
        key=key,
        right=[float(one_rule[mask].mean()) for mask in masks],
        right_published=[float(published[mask].mean()) for mask in masks],
        mass=float(found.mass.mean()),
        fired=float(found.fired.mean()),
        draws=predictions[key].draws,
        spread=float(found.spread[predictions.offered].mean()),
    )

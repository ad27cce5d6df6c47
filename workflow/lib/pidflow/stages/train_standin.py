"""Stage ``train_standin``: train the stand-in from nothing and write its weights, checkpoints and record."""

import json
import logging
import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from pidflow.data import scenes
from pidflow.data.readers import easy_vqa
from pidflow.errors import ConfigError
from pidflow.models.dynamics import ORDINARY, Dynamics, dynamics_of
from pidflow.models.standin.architecture import PATCH_SIZE, build_model, build_processor
from pidflow.models.standin.training import (
    Batch,
    Packer,
    Picture,
    PlainImage,
    Schedule,
    answers_right,
    next_token_loss,
    packed_logits,
    run_phase,
    scene_picture,
)

log = logging.getLogger(__name__)

PHASES = {
    "vision": Schedule(steps=1400, batch=64, learning_rate=2e-3),
    "language": Schedule(steps=1000, batch=24, learning_rate=2e-3),
    "align": Schedule(steps=400, batch=32, learning_rate=2e-3),
    "tune": Schedule(steps=4600, batch=16, learning_rate=1.5e-3),
}
# Questions of each type asked about one training scene: more of the one that is learned last.
QUESTIONS = dict.fromkeys(scenes.TASKS, 2) | {"choose-rel": 3}
# Share of easy-VQA pictures: half while the vision tower is warmed up, its shapes are small and of another style.
EASY_SHARE = {"vision": 0.5, "language": 0.2, "align": 0.5, "tune": 0.2}
# Share of the phase done at each checkpoint; the end of the last phase is the model itself.
CHECKPOINTS = {"align": (0.0, 1.0), "tune": (0.1, 0.25, 0.5)}


class PictureSource:
    """An endless supply of training pictures: new scenes by seed, easy-VQA pictures of the train split."""

    def __init__(self, *, seed: int, language_prior: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.language_prior = language_prior
        self.easy = _easy_images("train")

    def draw(self, count: int, *, easy_share: float) -> list[Picture]:
        """``count`` pictures, a share ``easy_share`` of them easy-VQA."""
        return [self._easy() if self.rng.random() < easy_share else self._scene() for _ in range(count)]

    def _easy(self) -> Picture:
        return self.easy[int(self.rng.integers(len(self.easy)))].moved(self.rng)

    def _scene(self) -> Picture:
        rng = np.random.default_rng(int(self.rng.integers(scenes.FIRST_EVALUATION_SEED)))
        return scene_picture(rng, language_prior=self.language_prior, questions=QUESTIONS)


def _easy_images(split: str) -> list[PlainImage]:
    """The images of a split whose shape and colour their questions tell."""
    images = []
    for index, entries in _easy_questions(split).items():
        truth = {task: answer for task, _, answer in entries}
        if easy_vqa.TASKS["shape"] in truth and easy_vqa.TASKS["colour"] in truth:
            shape, color = truth[easy_vqa.TASKS["shape"]], truth[easy_vqa.TASKS["colour"]]
            images.append(PlainImage.of(_load(split, index), shape=shape, color=color, questions=entries))
    return images


def _easy_questions(split: str) -> dict[int, list[tuple[str, str, str]]]:
    asked = defaultdict(list)
    for question in easy_vqa.questions(split):
        asked[question.image_index].append((question.task, question.text, question.answer))
    return asked


def _easy_test_pictures() -> list[Picture]:
    unseen = (("nothing",),) * (scenes.IMAGE_SIZE // PATCH_SIZE) ** 2
    return [
        Picture(_load("test", index), unseen, "", tuple(entries)) for index, entries in _easy_questions("test").items()
    ]


def _load(split: str, index: int) -> Image.Image:
    with Image.open(easy_vqa.image_path(split, index)) as image:
        return image.convert("RGB")


def evaluate(
    model,
    packer: Packer,
    *,
    images: int,
    seed: int = scenes.FIRST_EVALUATION_SEED,
    dynamics: Dynamics = ORDINARY,
) -> dict[str, float]:
    """Held-out accuracy per task: scenes by seeds no training scene uses, easy-VQA by its test split."""
    pictures = []
    for index in range(images):
        rng = np.random.default_rng(seed + index)
        pictures.append(scene_picture(rng, language_prior=0.0, questions=dict.fromkeys(scenes.TASKS, 1)))
    pictures += _easy_test_pictures()[:images]
    right: dict[str, list[bool]] = defaultdict(list)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(pictures), 50):
            chunk = pictures[start : start + 50]
            batch = packer.pack(chunk, questions=True, captions=[False] * len(chunk))
            hits = answers_right(packed_logits(model, batch, dynamics=dynamics), batch)
            for task, hit in zip(batch.tasks, hits.tolist(), strict=True):
                right[task].append(hit)
    model.train()
    return {task: float(np.mean(values)) for task, values in sorted(right.items())}


class _Record:
    """What happened, step by step, and the checkpoints on disk."""

    def __init__(self, folder: Path, model, packer: Packer, dynamics: Dynamics, *, held_out: int) -> None:
        self.folder, self.model, self.packer, self.dynamics, self.held_out = folder, model, packer, dynamics, held_out
        self.checkpoints: list[dict] = []
        self.started = time.monotonic()

    def save(self, phase: str, step: int) -> None:
        accuracy = evaluate(self.model, self.packer, images=self.held_out, dynamics=self.dynamics)
        name = f"{phase}-{step:05d}"
        folder = self.folder / "checkpoints" / name
        save_half(self.model, self.packer.processor, folder)
        minutes = (time.monotonic() - self.started) / 60
        self.checkpoints.append(
            {"name": name, "phase": phase, "step": step, "minutes": round(minutes, 1), "accuracy": accuracy}
        )
        log.info("checkpoint %s after %.1f min: %s", name, minutes, _short(accuracy))


def save_half(model, processor, folder: Path) -> None:
    """Write configuration, processor and weights (float16 safetensors) as one loadable folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    state = {key: value.detach().half().contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _short(accuracy: dict[str, float]) -> str:
    return " ".join(f"{task} {value:.3f}" for task, value in accuracy.items())


def _batches(
    source: PictureSource, packer: Packer, size: int, *, questions: bool, caption_share: float, easy_share: float
) -> Iterator[Batch]:
    while True:
        pictures = source.draw(size, easy_share=easy_share)
        captions = [bool(source.rng.random() < caption_share) for _ in pictures]
        if not questions and not any(captions):
            captions[0] = True
        yield packer.pack(pictures, questions=questions, captions=captions)


def run(
    *,
    output: str,
    seed: int = 0,
    language_prior: float = 0.25,
    attention: Mapping[str, Any] | None = None,
    phases: Mapping[str, Mapping[str, Any]] | None = None,
    held_out: int = 1000,
) -> None:
    """Train the stand-in, or a variant that attends in continuous time, from nothing.

    Parameters
    ----------
    output
        Folder for configuration, processor, weights (float16), ``checkpoints/`` and the record ``training.json``.
    seed
        Determines initial weights and every picture.
    language_prior
        Probability that an attribute follows its shape's typical value in the training scenes.
    attention
        Keys of :class:`pidflow.models.dynamics.Dynamics`, by which the attention of the language
        model evolves throughout; None for ordinary attention. The weights alone do not know: a model's entry in the
        configuration must repeat them.
    phases
        By phase (``vision``, ``language``, ``align``, ``tune``), the fields of its :class:`Schedule` that differ from
        `PHASES`.
    held_out
        Images per data set that accuracy is measured on; a third of it at checkpoints.
    """
    phases = dict(phases or {})
    if unknown := set(phases) - set(PHASES):
        raise ConfigError(f"unknown training phase '{min(unknown)}', expected some of: {', '.join(PHASES)}")
    schedules = {name: replace(schedule, **phases.get(name, {})) for name, schedule in PHASES.items()}
    torch.manual_seed(seed)
    model = build_model(seed=seed)
    depth = model.config.text_config.num_hidden_layers
    dynamics = ORDINARY if attention is None else dynamics_of(attention, depth=depth)
    recipe = {"seed": seed, "language_prior": language_prior, "attention": attention} | _train(
        model,
        Path(output),
        dynamics,
        seed=seed,
        prior=language_prior,
        phases=schedules,
        held_out=held_out,
    )
    (Path(output) / "training.json").write_text(json.dumps(recipe, indent=1) + "\n")


def _train(
    model,
    folder: Path,
    dynamics: Dynamics,
    *,
    seed: int,
    prior: float,
    phases: Mapping[str, Schedule],
    held_out: int,
) -> dict[str, Any]:
    """All phases; the weights go into the folder, what is worth recording of the training comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    processor = build_processor()
    model.train()
    packer = Packer(processor)
    source = PictureSource(seed=seed, language_prior=prior)
    record = _Record(folder, model, packer, dynamics, held_out=max(1, held_out // 3))
    head = nn.Linear(model.config.vision_config.hidden_size, len(packer.vocabulary))
    hits: dict[str, list[bool]] = defaultdict(list)

    def vision_loss(batch: Batch) -> torch.Tensor:
        hidden = model.model.vision_tower(batch.pixel_values, output_hidden_states=True).hidden_states
        logits = head(hidden[model.config.vision_feature_layer][:, 1:])
        hits["patch"].extend(((logits > 0) == (batch.patch_targets > 0)).all(-1).flatten().tolist())
        return nn.functional.binary_cross_entropy_with_logits(logits, batch.patch_targets) * len(packer.vocabulary)

    def soup_loss(batch: Batch) -> torch.Tensor:
        return next_token_loss(packed_logits(model, batch, soup=True, dynamics=dynamics), batch.labels)

    def picture_loss(batch: Batch) -> torch.Tensor:
        logits = packed_logits(model, batch, dynamics=dynamics)
        for task, hit in zip(batch.tasks, answers_right(logits.detach(), batch).tolist(), strict=True):
            hits[task].append(hit)
        return next_token_loss(logits, batch.labels)

    def reporter(phase: str):
        losses: list[float] = []
        at = {round(share * phases[phase].steps) for share in CHECKPOINTS.get(phase, ())}
        if 0 in at:
            record.save(phase, 0)

        def each_step(step: int, loss: float) -> None:
            losses.append(loss)
            if (step + 1) % 100 == 0:
                right = " ".join(f"{task} {np.mean(values):.3f}" for task, values in sorted(hits.items()))
                minutes = (time.monotonic() - record.started) / 60
                log.info("%s step %d %.1f min loss %.4f %s", phase, step + 1, minutes, np.mean(losses), right)
                losses.clear()
                hits.clear()
            if step + 1 in at:
                record.save(phase, step + 1)

        return each_step

    def captions_only(phase: str) -> Iterator[Batch]:
        share = EASY_SHARE[phase]
        return _batches(source, packer, phases[phase].batch, questions=False, caption_share=1.0, easy_share=share)

    tower = list(model.model.vision_tower.parameters())
    projector = list(model.model.multi_modal_projector.parameters())
    language = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    run_phase(
        [*tower, *head.parameters()],
        phases["vision"],
        captions_only("vision"),
        vision_loss,
        each_step=reporter("vision"),
    )
    for parameter in tower:  # LLaVA keeps it frozen from here on; moved at this learning rate, it forgets what it knows
        parameter.requires_grad_(False)
    run_phase(language, phases["language"], captions_only("language"), soup_loss, each_step=reporter("language"))
    for parameter in language:
        parameter.requires_grad_(False)
    run_phase(projector, phases["align"], captions_only("align"), picture_loss, each_step=reporter("align"))
    for parameter in language:
        parameter.requires_grad_(True)
    questions = _batches(
        source, packer, phases["tune"].batch, questions=True, caption_share=0.15, easy_share=EASY_SHARE["tune"]
    )
    run_phase([*projector, *language], phases["tune"], questions, picture_loss, each_step=reporter("tune"))

    save_half(model.eval(), processor, folder)
    accuracy = evaluate(model.half().float(), packer, images=held_out, dynamics=dynamics)
    log.info("final accuracy on %d held-out images a data set: %s", held_out, _short(accuracy))
    return {
        "easy_share": EASY_SHARE,
        "questions": QUESTIONS,
        "phases": {name: vars(schedule) for name, schedule in phases.items()},
        "checkpoints": record.checkpoints,
        "held_out_images": held_out,
        "accuracy": accuracy,
        "torch": torch.__version__,
        "platform": platform.machine(),
    }

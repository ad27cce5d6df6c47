"""Stage ``train_standin``: train a stand-in, from nothing or on from another, and write its weights and record."""

import logging
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pidflow.data import scenes
from pidflow.data.readers import easy_vqa
from pidflow.errors import ConfigError
from pidflow.files import store
from pidflow.models.dynamics import ORDINARY, Dynamics, dynamics_of
from pidflow.models.standin.architecture import build_model, build_processor
from pidflow.models.standin.packing import Batch, Closed, Packer, packed_logits
from pidflow.models.standin.pictures import PictureSource, held_out_pictures
from pidflow.models.standin.training import Schedule, answers_right, next_token_loss, run_phase

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
# Share of the rows of tuning that also ask for a caption.
_CAPTIONED = 0.15
# Share of the phase done at each checkpoint; the end of the last phase is the model itself.
CHECKPOINTS = {"align": (0.0, 1.0), "tune": (0.1, 0.25, 0.5)}
_VISION = "model.vision_tower."


@dataclass(frozen=True)
class Attention:
    """How the language model attends while it is trained: its dynamics, and the edges that it does not have."""

    dynamics: Dynamics = ORDINARY
    closed: tuple[Closed, ...] = ()


def evaluate(
    model,
    packer: Packer,
    *,
    images: int,
    seed: int = scenes.FIRST_EVALUATION_SEED,
    attention: Attention = Attention(),
    shown: str = "own",
) -> dict[str, float]:
    """Held-out accuracy per task: scenes by seeds no training scene uses, easy-VQA by its test split.

    Shown ``"other"``, every question goes with another question's picture: what the model knows without seeing.
    """
    pictures = held_out_pictures(images, seed=seed, shown=shown)
    right: dict[str, list[bool]] = defaultdict(list)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(pictures), 50):
            chunk = pictures[start : start + 50]
            batch = packer.pack(chunk, questions=True, captions=[False] * len(chunk))
            hits = answers_right(packed_logits(model, batch, **vars(attention)), batch)
            for task, hit in zip(batch.tasks, hits.tolist(), strict=True):
                right[task].append(hit)
    model.train()
    return {task: float(np.mean(values)) for task, values in sorted(right.items())}


def save_half(model, processor, folder: Path) -> None:
    """Write configuration, processor and weights (float16 safetensors) as one loadable folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    state = {key: value.detach().half().contiguous() for key, value in model.state_dict().items()}
    with store.replacing(folder / "model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def run(
    *,
    output: str,
    seed: int = 0,
    language_prior: float = 0.25,
    attention: Mapping[str, Any] | None = None,
    closed: Sequence[Mapping[str, Any]] = (),
    start: str | None = None,
    tower: str | None = None,
    width: int = 128,
    blocks: int = 8,
    tasks: Sequence[str] | None = None,
    pictures: str = "own",
    phases: Mapping[str, Mapping[str, Any]] | None = None,
    checkpoints: Mapping[str, Sequence[float]] | None = None,
    held_out: int = 1000,
) -> None:
    """Train a stand-in.

    Parameters
    ----------
    output
        Folder for configuration, processor, weights (float16), ``checkpoints/`` and the record ``training.json``.
    seed
        Determines initial weights and every picture.
    language_prior
        Probability that an attribute follows its shape's typical value in the training scenes.
    attention
        Keys of :class:`pidflow.models.dynamics.Dynamics`, by which the attention of the language model evolves
        throughout; None for ordinary attention. The weights alone do not know: a model's entry in the configuration
        must repeat them.
    closed
        Edges ``{source, target, blocks}`` that the language model does not have, between the spans
        `pidflow.models.standin.packing.SPANS`; a model's entry must repeat them too. Such a model is asked for no
        captions.
    start
        Folder of a model to tune; None goes through all phases from nothing.
    tower
        Folder of a model whose vision tower is taken over as it is; None warms up one of its own.
    width, blocks
        Residual width and depth of the language model.
    tasks
        Types of questions that are asked in tuning, of scenes and of easy-VQA; None: all.
    pictures
        ``"own"``, or ``"other"``: every question is asked of another question's picture, so that there is nothing to
        learn from pictures.
    phases
        By phase (``vision``, ``language``, ``align``, ``tune``), the fields of its :class:`Schedule` that differ from
        `PHASES`.
    checkpoints
        By phase, the shares of it after which a checkpoint is kept, where they differ from `CHECKPOINTS`.
    held_out
        Images per data set that accuracy is measured on; a third of it at checkpoints.

    Raises
    ------
    ConfigError
        On an unknown phase, task or span, or a checkpoint of another architecture.
    """
    for where, given, known in (
        ("training phase", phases or {}, PHASES),
        ("training phase", checkpoints or {}, PHASES),
        ("task", tasks or (), (*scenes.TASKS, *easy_vqa.TASKS.values())),
    ):
        if unknown := set(given) - set(known):
            raise ConfigError(f"unknown {where} '{min(unknown)}', expected some of: {', '.join(known)}")
    torch.manual_seed(seed)
    how = Attention(
        ORDINARY if attention is None else dynamics_of(attention, depth=blocks),
        tuple(Closed(each["source"], each["target"], blocks_of(each["blocks"])) for each in closed),
    )
    model = build_model(seed=seed, width=width, depth=blocks)
    for folder, prefix in ((start, ""), (tower, _VISION)):
        if folder is not None:
            _take_over(model, Path(folder), prefix)
    training = _Training(
        model,
        Path(output),
        how,
        source=PictureSource(
            seed=seed,
            language_prior=language_prior,
            questions={task: count for task, count in QUESTIONS.items() if tasks is None or task in tasks},
            easy_questions=None if tasks is None else tasks,
            shown=pictures,
        ),
        schedules={name: replace(schedule, **(phases or {}).get(name, {})) for name, schedule in PHASES.items()},
        checkpoints=CHECKPOINTS | {name: tuple(shares) for name, shares in (checkpoints or {}).items()},
        held_out=held_out,
    )
    made_by = {
        "seed": seed,
        "language_prior": language_prior,
        "attention": None if attention is None else dict(attention),
        "closed": [dict(each) for each in closed],
        "start": None if start is None else Path(start).name,
        "tower": None if tower is None else Path(tower).name,
        "width": width,
        "blocks": blocks,
        "tasks": None if tasks is None else list(tasks),
        "pictures": pictures,
    }
    done = (() if start is None else ("vision", "language", "align")) + (() if tower is None else ("vision",))
    training.run([name for name in PHASES if name not in done])
    store.write_text(Path(output) / "training.json", store.to_json(made_by | training.record(), indent=1) + "\n")


def blocks_of(blocks: str | Sequence[int]) -> tuple[int, ...] | None:
    """The blocks that ``"all"`` (as None) or ``[first, last]`` names."""
    return None if blocks == "all" else tuple(range(blocks[0], blocks[1] + 1))


def _take_over(model: nn.Module, folder: Path, prefix: str) -> None:
    """Weights whose names start with `prefix`, from a model that was trained before."""
    found = {name: value for name, value in load_file(folder / "model.safetensors").items() if name.startswith(prefix)}
    own = {name: value for name, value in model.state_dict().items() if name.startswith(prefix)}
    wrong = [name for name, value in own.items() if name not in found or found[name].shape != value.shape]
    if wrong or set(found) - set(own):
        raise ConfigError(
            f"{folder}: its weights ({', '.join(wrong[:2]) or 'some more'}) do not fit this stand-in; width, blocks "
            "and vision tower must be the same"
        )
    model.load_state_dict(found, strict=False)


class _Training:
    """The phases of one model, and what happened: step by step, and the checkpoints on disk."""

    def __init__(
        self,
        model,
        folder: Path,
        attention: Attention,
        *,
        source: PictureSource,
        schedules: Mapping[str, Schedule],
        checkpoints: Mapping[str, Sequence[float]],
        held_out: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.model, self.folder, self.attention = model.train(), folder, attention
        self.source, self.schedules, self.at, self.held_out = source, schedules, checkpoints, held_out
        self.packer = Packer(build_processor())
        self.head = nn.Linear(model.config.vision_config.hidden_size, len(self.packer.vocabulary))
        self.hits: dict[str, list[bool]] = defaultdict(list)
        self.checkpoints: list[dict] = []
        self.accuracy: dict[str, float] = {}
        self.unseeing: dict[str, float] = {}
        self.started = time.monotonic()

    def run(self, phases: Sequence[str]) -> None:
        """Go through the phases, in order, and save the model."""
        tower = list(self.model.model.vision_tower.parameters())
        projector = list(self.model.model.multi_modal_projector.parameters())
        language = [*self.model.model.language_model.parameters(), *self.model.lm_head.parameters()]
        moved = {
            "vision": ([*tower, *self.head.parameters()], self._vision_loss),
            "language": (language, self._soup_loss),
            "align": (projector, self._picture_loss),
            # LLaVA keeps the tower frozen; moved at this learning rate, it forgets what it knows
            "tune": ([*projector, *language], self._picture_loss),
        }
        for name in phases:
            parameters, loss = moved[name]
            for each in (*tower, *projector, *language):
                each.requires_grad_(False)
            for each in parameters:
                each.requires_grad_(True)
            run_phase(parameters, self.schedules[name], self._batches(name), loss, each_step=self._reporter(name))
        save_half(self.model.eval(), self.packer.processor, self.folder)
        self.accuracy = self._evaluate(self.model.half().float(), self.held_out)
        self.unseeing = evaluate(self.model, self.packer, images=self.held_out, attention=self.attention, shown="other")
        log.info("final accuracy on %d held-out images a data set: %s", self.held_out, _short(self.accuracy))

    def record(self) -> dict[str, Any]:
        """What is worth recording of the training."""
        return {
            "easy_share": EASY_SHARE,
            "questions": dict(self.source.questions),
            "phases": {name: vars(schedule) for name, schedule in self.schedules.items()},
            "checkpoints": self.checkpoints,
            "held_out_images": self.held_out,
            "accuracy": self.accuracy,
            "accuracy_of_other_pictures": self.unseeing,
            "torch": torch.__version__,
            "platform": platform.machine(),
        }

    def _batches(self, phase: str) -> Iterator[Batch]:
        rng, asks = self.source.rng, phase == "tune"
        easy_share = EASY_SHARE[phase] if self.source.asks_easy or not asks else 0.0
        share = 1.0 if not asks else 0.0 if self.attention.closed else _CAPTIONED
        while True:
            pictures = self.source.draw(self.schedules[phase].batch, easy_share=easy_share)
            captions = [bool(rng.random() < share) for _ in pictures]
            yield self.packer.pack(pictures, questions=asks, captions=captions)

    def _vision_loss(self, batch: Batch) -> torch.Tensor:
        hidden = self.model.model.vision_tower(batch.pixel_values, output_hidden_states=True).hidden_states
        logits = self.head(hidden[self.model.config.vision_feature_layer][:, 1:])
        self.hits["patch"].extend(((logits > 0) == (batch.patch_targets > 0)).all(-1).flatten().tolist())
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.patch_targets)
        return loss * len(self.packer.vocabulary)

    def _soup_loss(self, batch: Batch) -> torch.Tensor:
        return next_token_loss(packed_logits(self.model, batch, soup=True, **vars(self.attention)), batch.labels)

    def _picture_loss(self, batch: Batch) -> torch.Tensor:
        logits = packed_logits(self.model, batch, **vars(self.attention))
        for task, hit in zip(batch.tasks, answers_right(logits.detach(), batch).tolist(), strict=True):
            self.hits[task].append(hit)
        return next_token_loss(logits, batch.labels)

    def _reporter(self, phase: str) -> Callable[[int, float], None]:
        losses: list[float] = []
        at = {round(share * self.schedules[phase].steps) for share in self.at.get(phase, ())}
        if 0 in at:
            self._save(phase, 0)

        def each_step(step: int, loss: float) -> None:
            losses.append(loss)
            if (step + 1) % 100 == 0:
                right = " ".join(f"{task} {np.mean(values):.3f}" for task, values in sorted(self.hits.items()))
                log.info("%s step %d %.1f min loss %.4f %s", phase, step + 1, self._minutes(), np.mean(losses), right)
                losses.clear()
                self.hits.clear()
            if step + 1 in at:
                self._save(phase, step + 1)

        return each_step

    def _save(self, phase: str, step: int) -> None:
        accuracy = self._evaluate(self.model, max(1, self.held_out // 3))
        name = f"{phase}-{step:05d}"
        save_half(self.model, self.packer.processor, self.folder / "checkpoints" / name)
        minutes = round(self._minutes(), 1)
        self.checkpoints.append({"name": name, "phase": phase, "step": step, "minutes": minutes, "accuracy": accuracy})
        log.info("checkpoint %s after %.1f min: %s", name, minutes, _short(accuracy))

    def _evaluate(self, model, images: int) -> dict[str, float]:
        return evaluate(model, self.packer, images=images, attention=self.attention)

    def _minutes(self) -> float:
        return (time.monotonic() - self.started) / 60


def _short(accuracy: dict[str, float]) -> str:
    return " ".join(f"{task} {value:.3f}" for task, value in accuracy.items())

"""How the stand-in is trained: warm-ups of the parts, caption alignment, visual instruction tuning.

The order follows LLaVA (arXiv 2304.08485): a vision tower and a language model that each know their own world are
joined by a projector, first with captions while only the projector moves, then with questions while the
projector and the language model move. Three choices make a small model learn on two cores:

* one image carries many questions in one row. Each question is a block that attends to the image and to itself only,
  with its position ids restarted after the image, so a block is computed exactly as in a prompt of its own: nothing
  leaks from one question to the next, and the image is paid for once;
* the vision tower is warmed up by naming, for every patch, the words that describe what it shows;
* the language model is warmed up on captions of "word soups", in which each image position holds the sum of the
  embeddings of those words: the projector then has something to be aligned with.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from pidflow.models.standin.packing import IGNORE, Batch


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings of one phase: number of steps, images a step, peak learning rate, share used to warm up."""

    steps: int
    batch: int
    learning_rate: float
    warmup: float = 0.03
    weight_decay: float = 0.01
    clip: float = 1.0

    def factor(self, step: int) -> float:
        """Learning rate at ``step`` over the peak: linear warm-up, then a cosine down to 5 %."""
        ramp = max(1, round(self.warmup * self.steps))
        if step < ramp:
            return (step + 1) / ramp
        progress = (step - ramp) / max(1, self.steps - ramp)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


def next_token_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the labelled positions."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)


def answers_right(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Boolean per question block: is the first answer token the most likely one?"""
    rows, columns = batch.answer_at.unbind(1)
    return logits[rows, columns].argmax(-1) == batch.labels[rows, columns]


def run_phase(
    parameters: list[nn.Parameter],
    schedule: Schedule,
    batches: Iterator[Batch],
    loss_of: Callable[[Batch], torch.Tensor],
    *,
    each_step: Callable[[int, float], None],
) -> None:
    """Train ``parameters`` for one phase; ``each_step(step, loss)`` is called after every step.

    Raises
    ------
    FloatingPointError
        If the loss stops being finite.
    """
    optimiser = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * schedule.factor(step)
        loss = loss_of(next(batches))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss.item()} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimiser.step()
        each_step(step, loss.item())

"""How far a run has come: everything a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mien.core.errors import Corrupt, WrongState
from mien.recognition.optimiser import Optimiser


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One validation during training; None where a figure does not apply.

    Attributes:
        images_seen: so far.
        lr: learning rate of the last step.
        train_loss: mean over the steps since the last validation, smoothing included.
        train_accuracy: over the same augmented batches, in [0, 1].
        loss: validation loss without smoothing; the lowest selects the weights.
        accuracy: in [0, 1].
        macro_f1: in [0, 1].
        ccc: mean of valence's and arousal's, in [-1, 1].
    """

    images_seen: int
    lr: float
    train_loss: float
    train_accuracy: float | None
    loss: float
    accuracy: float | None
    macro_f1: float | None
    ccc: float | None


@dataclass(slots=True)
class Course:
    """The changing part of a run besides weights and optimiser.

    Attributes:
        run: digest of network, configuration and data.
        step: steps done.
        history: validations so far.
        best: weights at the lowest validation loss so far.
        since_best: validations since then.
        train_s: seconds in training steps.
        wall_s: seconds in all.
    """

    run: str
    step: int = 0
    history: list[Evaluation] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    since_best: int = 0
    train_s: float = 0.0
    wall_s: float = 0.0

    @property
    def best_loss(self) -> float:
        """Lowest validation loss so far; infinite before the first."""
        return min((e.loss for e in self.history), default=math.inf)

    @property
    def best_images_seen(self) -> int:
        """Images seen at the lowest validation loss so far."""
        return next((e.images_seen for e in self.history if e.loss == self.best_loss), 0)


def snapshot(
    course: Course, model: nn.Module, optimiser: Optimiser, sums: Tensor
) -> dict[str, Any]:
    """Copy a run's whole state: three tables of tensors and ``progress``, plain values."""
    return {
        "weights": copied(model.state_dict()),
        "optimiser": copied(optimiser.tensors()),
        "best": dict(course.best),
        "progress": {
            "run": course.run,
            "step": course.step,
            "history": [asdict(e) for e in course.history],
            "since_best": course.since_best,
            "sums": sums.tolist(),
            "train_s": course.train_s,
            "wall_s": course.wall_s,
        },
    }


def restore(
    state: Mapping[str, Any],
    run: str,
    model: nn.Module,
    optimiser: Optimiser,
    sums: Tensor,
) -> Course:
    """Put a run's state back.

    Raises:
        WrongState: ``OTHER_RUN`` when it is another run's.
        Corrupt: ``CHECKPOINT`` when parts are missing or do not fit.
    """
    try:
        known = state["progress"]
        if known["run"] != run:
            raise WrongState(
                "OTHER_RUN",
                "the checkpoint was made with another network, configuration or data",
                hint="delete the checkpoint to start again",
            )
        model.load_state_dict(state["weights"])
        optimiser.restore(state["optimiser"])
        sums.copy_(torch.tensor(known["sums"], dtype=sums.dtype))
        return Course(
            run=run,
            step=known["step"],
            history=[Evaluation(**e) for e in known["history"]],
            best=dict(state["best"]),
            since_best=known["since_best"],
            train_s=known["train_s"],
            wall_s=known["wall_s"],
        )
    except (KeyError, TypeError, RuntimeError) as error:
        raise Corrupt(
            "CHECKPOINT", f"the checkpoint does not fit: {error}", hint="delete it to start again"
        ) from None


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the processor."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}

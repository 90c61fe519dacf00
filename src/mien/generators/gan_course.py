"""How far the training of a game has come: everything a checkpoint holds, and the averaged net."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mien.core.errors import Corrupt, WrongState

# Figures that are better when smaller, by how their names begin; all others when larger.
SMALLER_IS_BETTER = ("fd", "fid", "kid", "mmd", "distance")  # before any "/", as in fd/judge
_AS_GOOD = 0.02  # shares that differ by no more say the same: they are taken of some hundred faces


@dataclass(slots=True)
class Course:
    """The changing part of a run besides networks and optimisers.

    Attributes:
        run: digest of options and data.
        micro: faces at a time; smaller than the batch when memory ran out.
        step: steps done.
        history: reports so far: ``kimg``, losses and figures by name.
        figures: the best value of every figure so far.
        since_best: evaluations since any figure was better than before.
        kept: the figures of the best evaluation, whose weights are worth keeping.
        scalars: running numbers of the loop (mean path length).
        wall_s: seconds in all.
    """

    run: str
    micro: int
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    since_best: int = 0
    kept: dict[str, float] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0

    def judge(self, figures: Mapping[str, float]) -> bool:
        """Count an evaluation; the count starts again when any figure is the best so far.

        Returns:
            Whether this is the best evaluation: of those whose shares (label fidelity) are as good
            as any so far, the one with the least distance. One clear face a class has fidelity 1,
            and blurred faces of all kinds a small distance: neither alone is good.
        """
        self.since_best += 1
        for name, value in figures.items():
            sign = -1.0 if _is_distance(name) else 1.0
            if name not in self.figures or sign * value > sign * self.figures[name]:
                self.figures[name] = value
                self.since_best = 0
        best = self._as_clear(figures) and (
            not self._as_clear(self.kept) or _far(figures) < _far(self.kept)
        )
        if best:
            self.kept = dict(figures)
        return best

    def _as_clear(self, figures: Mapping[str, float]) -> bool:
        """Tell whether all shares are as good as the best so far; not without figures."""
        return bool(figures) and all(
            value >= self.figures[name] - _AS_GOOD
            for name, value in figures.items()
            if not _is_distance(name)
        )


def _is_distance(figure: str) -> bool:
    return figure.partition("/")[0] in SMALLER_IS_BETTER


def _far(figures: Mapping[str, float]) -> float:
    """Multiply the distances, whose scales differ; without any, the shares' mean, negated."""
    distances = [value for name, value in figures.items() if _is_distance(name)]
    return math.prod(distances) if distances else -sum(figures.values()) / len(figures)


def snapshot(
    course: Course,
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    sums: Tensor,
) -> dict[str, Any]:
    """Copy a run's whole state: a table of tensors each, and ``progress``, plain values."""
    state: dict[str, Any] = {name: copied(n.state_dict()) for name, n in networks.items()}
    for name, optimiser in optimisers.items():
        state[f"optimiser {name}"] = copied(optimiser_tensors(optimiser))
    state["progress"] = {
        "run": course.run,
        "micro": course.micro,
        "step": course.step,
        "history": [dict(h) for h in course.history],
        "figures": dict(course.figures),
        "since_best": course.since_best,
        "kept": dict(course.kept),
        "scalars": dict(course.scalars),
        "wall_s": course.wall_s,
        "sums": sums.tolist(),
    }
    return state


def restore(
    state: Mapping[str, Any],
    run: str,
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    sums: Tensor,
) -> Course:
    """Put a run's state back.

    Raises:
        WrongState: ``OTHER_RUN`` when it is another run's.
        Corrupt: ``CHECKPOINT`` when parts are missing or do not fit.
    """
    try:
        known = dict(state["progress"])
        if known["run"] != run:
            raise WrongState(
                "OTHER_RUN",
                "the checkpoint was made with other options or data",
                hint="delete the checkpoint to start again",
            )
        for name, network in networks.items():
            network.load_state_dict(state[name])
        for name, optimiser in optimisers.items():
            restore_optimiser(optimiser, state[f"optimiser {name}"])
        sums.copy_(torch.tensor(known.pop("sums"), dtype=sums.dtype))
        return Course(**known)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise Corrupt(
            "CHECKPOINT", f"the checkpoint does not fit: {error}", hint="delete it to start again"
        ) from None


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name an optimiser's state ``<index of the parameter>/<moment>``."""
    return {
        f"{index}/{key}": value
        for index, parameter in enumerate(_parameters(optimiser))
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put named state back into a fresh optimiser of the same parameters.

    Raises:
        IndexError, ValueError: when a tensor belongs to no parameter.
    """
    parameters = _parameters(optimiser)
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        parameter = parameters[int(index)]
        stays = key == "step" and not optimiser.param_groups[0].get("fused")
        state = value.clone() if stays else value.to(parameter.device, copy=True)
        if state.shape == parameter.shape:  # laid out in memory as the parameter is
            state = torch.empty_like(parameter).copy_(state)
        optimiser.state[parameter][key] = state


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimiser.param_groups for p in group["params"]]


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the processor."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}


def averaged(network: nn.Module) -> nn.Module:
    """Make the network that follows another's weights: a copy that never learns itself."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, kept: float) -> None:
    """Move an average towards a network: weights by 1 - ``kept``, buffers at once.

    Source: Karras et al. 2018, §A.1: the exponential average of the generator's weights.
    """
    own: list[Tensor] = list(average.parameters())
    now: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(own, now, 1.0 - kept)
    for buffer, current in zip(average.buffers(), network.buffers(), strict=True):
        buffer.copy_(current)


def kept_share(batch: int, seen: int, half_life_kimg: float) -> float:
    """Share of the average that a step keeps; 0 without averaging.

    The half-life is at most a twentieth of what has been seen, so that the start is forgotten.
    """
    half_life = min(half_life_kimg * 1000.0, seen / 20.0)
    return float(0.5 ** (batch / half_life)) if half_life > 0 else 0.0

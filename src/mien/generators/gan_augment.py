"""Differentiable augmentation: the same kinds of change to real and generated faces before a judge.

Source: Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", section 3,
with its strengths. We move faces by products with 0/1 matrices: exact, and on CUDA, unlike
gathering, summed in a fixed order in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mien.core.errors import invalid_fields

# What a face survives unharmed: a generator that sees cut-out or turned faces learns to draw them.
FACE_AUGMENTATIONS = ("colour", "translation")
_BRIGHTNESS = 0.5  # added, in units of [-1, 1]
_CONTRAST = 0.5  # around 1, of the distance to the face's mean
_SATURATION = 1.0  # around 1, of the distance to grey
_SHIFT = 1 / 8  # of the side
_CUT = 1 / 2  # of the side


def augment(x: Tensor, names: Sequence[str], seed: int) -> Tensor:
    """Change every face at random; the result can be differentiated with respect to ``x``.

    Args:
        x: (N, C, S, S) float in [-1, 1]; results may leave that range.
        names: of ``AUGMENTATIONS``, applied in this order; () changes nothing.
        seed: of the draws; same seed and N, same draws, on every device.

    Raises:
        Invalid: ``ENGINE_PARAMS`` when a name is unknown.
    """
    require_augmentations(names)
    rng = torch.Generator().manual_seed(seed)
    with torch.autocast(x.device.type, enabled=False):
        for name in names:
            x = AUGMENTATIONS[name](x, rng)
    return x


def require_augmentations(names: Sequence[str]) -> None:
    """Refuse unknown names.

    Raises:
        Invalid: ``ENGINE_PARAMS`` naming them.
    """
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        what = f"{', '.join(unknown)}: none of {', '.join(AUGMENTATIONS)}"
        raise invalid_fields("ENGINE_PARAMS", "an augmentation is unknown", {"augment": what})


def _colour(x: Tensor, rng: torch.Generator) -> Tensor:
    """Change brightness, saturation and contrast."""
    light, saturation, contrast = (_draw(x, rng, spread) for spread in _COLOUR_SPREADS)
    x = x + light
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1.0 + saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1.0 + contrast)


_COLOUR_SPREADS = (_BRIGHTNESS, _SATURATION, _CONTRAST)


def _draw(x: Tensor, rng: torch.Generator, spread: float) -> Tensor:
    """Draw a number of [-spread, spread] a face: (N, 1, 1, 1)."""
    drawn = (torch.rand(len(x), 1, 1, 1, generator=rng) * 2.0 - 1.0) * spread
    return drawn.to(x.device, x.dtype)


def _translation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shift by whole pixels along both axes; what comes in is mid-grey."""
    down, right = (_shift_matrices(x, rng, size) for size in x.shape[2:])
    return down[:, None] @ x @ right[:, None].transpose(2, 3)


def _shift_matrices(x: Tensor, rng: torch.Generator, size: int) -> Tensor:
    """Draw a 0/1 matrix a face that shifts a line of that size: (N, size, size)."""
    most = round(size * _SHIFT)
    shift = torch.randint(-most, most + 1, (len(x), 1, 1), generator=rng)
    at = torch.arange(size)
    return (at[:, None] - at[None, :] == shift).to(x.device, x.dtype)


def _cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Grey out a square around a random pixel."""
    inside = [_in_span(x, rng, size) for size in x.shape[2:]]
    cut = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(cut, torch.zeros((), dtype=x.dtype, device=x.device), x)


def _in_span(x: Tensor, rng: torch.Generator, size: int) -> Tensor:
    """Tell which places of a line lie in a random span: (N, size) bool."""
    long = round(size * _CUT)
    first = torch.randint(0, size + 1 - long % 2, (len(x), 1), generator=rng) - long // 2
    at = torch.arange(size)[None, :]
    return ((at >= first) & (at < first + long)).to(x.device)


def _flip(x: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror left and right, every other face."""
    flipped = (torch.rand(len(x), 1, 1, 1, generator=rng) < 0.5).to(x.device)
    return torch.where(flipped, x.flip(3), x)


AUGMENTATIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "colour": _colour,
    "translation": _translation,
    "cutout": _cutout,
    "flip": _flip,
}

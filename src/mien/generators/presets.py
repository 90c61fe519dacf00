"""Named presets: the recipes people know, as parameters of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mien.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Preset:
    """An engine with parameters.

    Attributes:
        engine: name in the engine table.
        params: of its training; what is not named keeps the engine's default.
    """

    engine: str
    params: Mapping[str, Any] = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # StyleGAN2, small: invents identities from neutral faces, whatever their labels.
        "stylegan": Preset(
            "noise",
            {
                "backbone": "style",
                "classes": 0,
                "z_dim": 64,
                "width": 32,
                "loss": "rpgan",
                "regulariser": "r1r2",
                "gamma": 1.0,
                "reg_every": 16,
                "mixing": 0.5,
                "ema_kimg": 5.0,
                "batch": 16,
                "ghost": 4,
                "lr_g": 2e-3,
                "lr_d": 2e-3,
                "lr_decay": 0.3,
                "kimg": 300.0,
            },
        ),
        # StarGAN v1; `recipe: published` is the paper's, `modern` a warp and a residual.
        "stargan": Preset("translate", {"recipe": "modern"}),
    }
)


def preset(name: str, overrides: Mapping[str, Any] = MappingProxyType({})) -> Preset:
    """Look a preset up and override some of its parameters.

    Args:
        name: in ``PRESETS``, or an engine of one's own by its name in the engine table.
        overrides: parameters that replace the preset's.

    Raises:
        NotFound: ``UNKNOWN_PRESET`` naming those there are.
    """
    if name not in PRESETS:
        raise NotFound(
            "UNKNOWN_PRESET",
            f"there is no preset {name!r}",
            hint=f"one of: {', '.join(sorted(PRESETS))}",
        )
    found = PRESETS[name]
    return Preset(found.engine, {**found.params, **overrides})

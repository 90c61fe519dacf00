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
        recipes: where the preset comes in several, their parameters by name; ``recipe`` among the
            parameters chooses.
    """

    engine: str
    params: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# What the published recipes of small conditional GANs share: no penalty, no average, no mirroring;
# 100 passes over the 28,709 faces that FER2013 is trained on.
_PUBLISHED = {
    "z_dim": 100,
    "g_condition": "concat",
    "loss": "bce",
    "regulariser": "none",
    "mirror": False,
    "ema_kimg": 0.0,
    "lr_g": 2e-4,
    "lr_d": 2e-4,
    "betas": (0.5, 0.999),
    "lr_decay": 0.0,
    "precision": "fp32",
    "kimg": 2871.0,
}

# At 48 px about thirteen minutes of one processor core.
_MODERN = {"gamma": 0.5, "fine": "edges", "kimg": 150.0}


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # Labels as an input of both networks; modern: relativistic, with projection.
        "cgan": Preset(
            "noise",
            {"recipe": "modern"},
            {
                "published": {
                    **_PUBLISHED,
                    "backbone": "published_cgan",
                    "d_condition": "concat",
                    "batch": 128,
                    "ghost": 128,
                },
                "modern": {**_MODERN, "d_condition": "projection", "aux_weight": 0.0},
            },
        ),
        # The discriminator names the class too; modern: a little, and projection beside it.
        "acgan": Preset(
            "noise",
            {"recipe": "modern"},
            {
                "published": {
                    **_PUBLISHED,
                    "backbone": "published_acgan",
                    "d_condition": "aux",
                    "aux_weight": 1.0,
                    "aux_on_fakes": True,
                    "batch": 64,
                    "ghost": 64,
                },
                "modern": {**_MODERN, "d_condition": "aux+projection"},
            },
        ),
        # StyleGAN2, small: invents identities from neutral faces, whatever their labels.
        "stylegan": Preset(
            "noise",
            {
                "backbone": "style",
                "classes": 0,
                "z_dim": 64,
                "width": 16,
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
        NotFound: ``UNKNOWN_PRESET`` naming those there are; ``UNKNOWN_RECIPE`` likewise.
    """
    if name not in PRESETS:
        raise NotFound(
            "UNKNOWN_PRESET",
            f"there is no preset {name!r}",
            hint=f"one of: {', '.join(sorted(PRESETS))}",
        )
    found = PRESETS[name]
    given = {**found.params, **overrides}
    if not found.recipes:
        return Preset(found.engine, given)
    recipe = given.pop("recipe")
    if recipe not in found.recipes:
        raise NotFound(
            "UNKNOWN_RECIPE",
            f"the preset {name!r} has no recipe {recipe!r}",
            hint=f"one of: {', '.join(sorted(found.recipes))}",
        )
    return Preset(found.engine, {**found.recipes[recipe], **given})

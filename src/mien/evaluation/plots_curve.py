"""The picture the project is about: accuracy against ratio, with what it must be compared to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.core.split import Protocol
from mien.evaluation.curve import CurvePoint, role_title
from mien.evaluation.plots_style import (
    BASELINE,
    CEILING,
    INK,
    MUTED,
    PANEL_INCHES,
    PAPER,
    PLAIN,
    SERIES,
    SHUFFLED,
    in_style,
    panels,
)
from mien.evaluation.saturation import Saturation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROTOCOLS: tuple[Protocol, ...] = ("paper", "steps")  # the one that decides is drawn on top
_DODGE = 0.012  # of the axis, so that two protocols' intervals stand beside each other
_WIDE_RATIO = 8  # above it the axis is compressed, or r1 to r6 would share a finger's width


@in_style
def curve_figure(
    points: Sequence[CurvePoint],
    roles: Sequence[str],
    *,
    chosen: int | None = None,
    legend: bool = True,
) -> Figure:
    """Draw accuracy against ratio, one panel a set.

    Solid with filled marks: equal images seen (``steps``, decides). Dashed with hollow marks:
    equal epochs (``paper``). Band: the baseline's interval. Dotted line: more real faces. Cross:
    permuted labels. Diamond: synthetic faces only. Grey triangle: baseline without augmentation.

    Args:
        points: of any arms, sets and protocols; those of other sets are left out.
        roles: the sets to draw, in order, each with at least one point.
        chosen: ratio to mark, or None.
        legend: explain the marks below the picture.
    """
    columns = min(2, len(roles))
    rows = -(-len(roles) // columns)
    figure, all_axes = panels(rows, columns)
    for axes, role in zip(all_axes, roles, strict=False):
        draw_curve(axes, [p for p in points if p.role == role], chosen=chosen)
        axes.set_title(role_title(role))
    for axes in all_axes[len(roles) :]:
        axes.set_visible(False)
    if legend:
        keys = [pair for a in all_axes for pair in zip(*a.get_legend_handles_labels(), strict=True)]
        names = {name: handle for handle, name in keys}
        place = {"loc": "outside lower center", "ncols": min(3, 1 + columns)}
        figure.legend(names.values(), names.keys(), **place)
    return figure


def draw_curve(axes: Axes, points: Sequence[CurvePoint], *, chosen: int | None = None) -> None:
    """Draw one set's points into a panel."""
    ratios = sorted({p.arm.ratio for p in points if p.arm.kind != "more_real"} | {0})
    place = _root if ratios[-1] > _WIDE_RATIO else float
    reach = place(max(ratios[-1], 1))
    _baseline(axes, points)
    _ceiling(axes, points)
    pools = sorted({p.arm.pool for p in points if p.arm.kind == "ratio" and p.arm.pool}) or [""]
    for index, pool in enumerate(pools):
        name = f"{pool}: " if len(pools) > 1 else ""
        for protocol in PROTOCOLS:
            look = _Look(protocol, SERIES[index % len(SERIES)], name, place, _DODGE * reach)
            _line(axes, [p for p in points if p.arm.pool in ("", pool)], look)
    _controls(axes, points, place)
    if chosen is not None:
        axes.axvline(place(chosen), color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)
    axes.set_xticks([place(r) for r in ratios], [f"r{r}" for r in ratios])
    axes.set_xlim(-0.06 * reach, 1.06 * reach)
    scale = " (square-root scale)" if place is _root else ""
    axes.set(xlabel=f"units of synthetic faces added{scale}", ylabel="accuracy")
    _percent_axis(axes)


def _root(ratio: float) -> float:
    return math.sqrt(ratio)


def _baseline(axes: Axes, points: Sequence[CurvePoint]) -> None:
    """Shade the interval that a helpful ratio has to leave."""
    for point in points:
        arm = point.arm
        if (arm.kind, arm.ratio, arm.base, point.protocol) == ("ratio", 0, "geometric", "steps"):
            axes.axhspan(point.low, point.high, color=BASELINE, alpha=0.16, linewidth=0)
            axes.axhline(point.mean, color=BASELINE, linewidth=0.9)


def _ceiling(axes: Axes, points: Sequence[CurvePoint]) -> None:
    for point in points:
        if point.arm.kind == "more_real":
            axes.axhline(
                point.mean,
                color=CEILING,
                linestyle=":",
                linewidth=1.6,
                label=f"more real faces (r{point.arm.ratio})",
            )


@dataclass(frozen=True, slots=True)
class _Look:
    """How one line is drawn: its protocol, colour, name, and where a ratio lies."""

    protocol: Protocol
    colour: str
    name: str
    place: Callable[[float], float]
    dodge: float


def _line(axes: Axes, points: Sequence[CurvePoint], look: _Look) -> None:
    chosen = sorted(
        (
            p
            for p in points
            if (p.protocol, p.arm.kind, p.arm.base) == (look.protocol, "ratio", "geometric")
        ),
        key=lambda p: p.arm.ratio,
    )
    if not chosen:
        return
    steps = look.protocol == "steps"
    shift = 0.0 if steps else look.dodge
    mean = np.array([p.mean for p in chosen])
    axes.errorbar(
        [look.place(p.arm.ratio) + shift for p in chosen],
        mean,
        yerr=np.abs(np.array([[p.low for p in chosen], [p.high for p in chosen]]) - mean),
        color=look.colour,
        linestyle="-" if steps else (0, (4, 2)),
        marker="o" if steps else "s",
        markerfacecolor=look.colour if steps else PAPER,
        linewidth=1.8 if steps else 1.2,
        elinewidth=1.1,
        alpha=1.0 if steps else 0.75,
        label=look.name + ("equal images seen" if steps else "equal epochs"),
    )


def _controls(axes: Axes, points: Sequence[CurvePoint], place: Callable[[float], float]) -> None:
    looks = {
        "synthetic": ("synthetic faces only", "D", SERIES[4]),
        "shuffled": ("permuted labels", "x", SHUFFLED),
        "plain": ("r0 without augmentation", "^", PLAIN),
    }
    seen: set[str] = set()
    for point in points:
        arm = point.arm
        kind = "plain" if arm.kind == "ratio" and arm.base == "plain" else arm.kind
        if kind not in looks or point.protocol != "steps":
            continue
        name, marker, colour = looks[kind]
        axes.errorbar(
            [place(arm.ratio)],
            [point.mean],
            yerr=[[point.mean - point.low], [point.high - point.mean]],
            linestyle="none",
            marker=marker,
            markersize=6,
            markeredgewidth=2 if marker == "x" else 0.5,
            color=colour,
            elinewidth=1.0,
            alpha=0.9,
            label=None if name in seen else name,
        )
        seen.add(name)


@in_style
def saturation_figure(
    fitted: Saturation, means: Sequence[tuple[float, float]], *, title: str = "Saturation"
) -> Figure:
    """Draw the fitted curve with its band, the measured means and the level it tends to.

    Args:
        fitted: of one pool.
        means: (ratio, accuracy in [0, 1]) as measured.
        title: above the picture.
    """
    figure, (axes,) = panels(inches=PANEL_INCHES)
    reach = np.linspace(0.0, max(fitted.ratios), 101)
    curve = fitted.start + fitted.gain * (1.0 - np.exp(-reach / fitted.scale))
    axes.fill_between(
        fitted.ratios, fitted.band_low, fitted.band_high, color=SERIES[0], alpha=0.14, linewidth=0
    )
    if not fitted.flat:
        level = fitted.start + fitted.gain
        axes.axhline(level, color=MUTED, linewidth=1.0, linestyle=":", label="level it tends to")
    axes.plot(reach, curve, color=SERIES[0], label="fit")
    axes.plot([r for r, _ in means], [m for _, m in means], "o", color=SERIES[1], label="measured")
    axes.set(xlabel="units of synthetic faces added", ylabel="accuracy")
    axes.set_xticks(list(fitted.ratios), [f"r{r}" for r in fitted.ratios])
    axes.set_title(title)
    _percent_axis(axes)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _percent_axis(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

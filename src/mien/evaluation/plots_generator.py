"""Pictures of a generator's training: losses, and whatever else was reported, one panel each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from mien.evaluation.plots_style import PANEL_INCHES, SERIES, in_style, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 6
Points = list[tuple[float, float]]


def training_panels(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Points]]:
    """Deal reports into panels: all losses into one, every other figure into its own.

    Args:
        history: reports, each with ``kimg`` and figures by name.

    Returns:
        Panel → series → [(kimg, value), …], finite values only; panels without any are left out.
    """
    series: dict[str, Points] = {}
    for report in history:
        for name, value in report.items():
            if name != "kimg" and "kimg" in report and isfinite(value):
                series.setdefault(name, []).append((report["kimg"], value))
    found: dict[str, dict[str, Points]] = {}
    for name, points in series.items():
        words = name.replace("_", " ").replace("/", " ")
        loss = "loss" in words.split()
        panel = "loss" if loss else words
        found.setdefault(panel, {})[words.replace("loss", "").strip() or words] = points
    first = ["loss"] if "loss" in found else []
    order = first + [p for p in found if p != "loss"]
    return {name: found[name] for name in order[:_MOST_PANELS]}


@in_style
def training_history_figure(history: Sequence[Mapping[str, float]]) -> Figure | None:
    """Draw a training against thousands of real faces seen; None when nothing was reported."""
    drawn = training_panels(history)
    if not drawn:
        return None
    columns = min(len(drawn), 3)
    rows = -(-len(drawn) // columns)
    size = (PANEL_INCHES[0] * 0.72, PANEL_INCHES[1] * 0.8)
    figure, all_axes = panels(rows, columns, inches=size)
    for axes in all_axes[len(drawn) :]:
        axes.set_visible(False)
    for axes, (title, lines) in zip(all_axes, drawn.items(), strict=False):
        for index, (name, points) in enumerate(sorted(lines.items())):
            kimg, values = zip(*points, strict=True)
            axes.plot(kimg, values, color=SERIES[index % len(SERIES)], linewidth=1.4, label=name)
        axes.set_title(title)
        axes.set(xlabel="thousand faces seen")
        if len(lines) > 1:
            axes.legend()
    return figure

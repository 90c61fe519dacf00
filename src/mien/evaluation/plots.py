"""Pictures of one model: confusion matrix, reliability, training curves; and where time went.

Every ``*_figure`` returns a Matplotlib figure; ``plots_style`` turns it into PNG, SVG or a piece
of a page. Matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.evaluation.calibration import ReliabilityBin
from mien.evaluation.metrics import normalise_rows
from mien.evaluation.plots_style import (
    BASELINE,
    INK,
    MUTED,
    PANEL_INCHES,
    SERIES,
    in_style,
    panels,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Mapping[str, Sequence[tuple[int, float]]]


@in_style
def confusion_figure(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw a confusion matrix: shade and first line = share of the true class, then the count.

    Args:
        confusion: (C, C) counts, rows are the truth.
        labels: C class names.
        title: above the picture.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    shares = normalise_rows(counts)
    side = 1.7 + 0.52 * len(labels)
    figure, (axes,) = panels(inches=(side, side * 0.95))
    axes.imshow(np.nan_to_num(shares), cmap=_blues(), vmin=0.0, vmax=1.0, aspect="equal")
    for row, column in np.ndindex(*counts.shape):
        _cell(axes, row, column, float(shares[row, column]), int(counts[row, column]))
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title or f"{counts.sum()} faces")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("mien", ["#ffffff", "#9ccbe6", SERIES[0], "#00375a"])


def _cell(axes: Axes, row: int, column: int, share: float, count: int) -> None:
    if count == 0:
        axes.text(column, row, "·", ha="center", va="center", color=MUTED)
        return
    colour = "white" if share > 0.45 else INK
    axes.text(column, row - 0.08, f"{100 * share:.0f}%", ha="center", va="center", color=colour)
    axes.text(column, row + 0.27, f"{count}", ha="center", va="center", color=colour, fontsize=6.5)


def confusion_png(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], *, title: str = ""
) -> bytes:
    """Draw a confusion matrix as PNG; see ``confusion_figure``."""
    return to_png(confusion_figure(confusion, labels, title=title))


@in_style
def reliability_figure(
    before: Sequence[ReliabilityBin],
    after: Sequence[ReliabilityBin] = (),
    *,
    title: str = "Reliability",
) -> Figure:
    """Draw accuracy against confidence; on the diagonal confidence means what it says.

    Args:
        before: bins without temperature.
        after: bins with the fitted temperature, or ().
        title: above the picture.
    """
    figure, (axes,) = panels(inches=(3.9, 3.6))
    axes.plot([0, 1], [0, 1], color=BASELINE, linewidth=1.0, linestyle=(0, (4, 3)))
    series = [(before, SERIES[1], "s", "before temperature"), (after, SERIES[0], "o", "after")]
    for bins, colour, marker, name in series:
        filled = [b for b in bins if b.faces]
        if not filled:
            continue
        total = sum(b.faces for b in filled)
        x, y = [b.confidence for b in filled], [b.accuracy for b in filled]
        axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.6)
        sizes = [12 + 160 * b.faces / total for b in filled]
        axes.scatter(x, y, s=sizes, color=colour, marker=marker, label=name, linewidths=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xlabel="confidence", ylabel="accuracy")
    axes.set_title(title)
    _percent(axes, "both")
    if axes.get_legend_handles_labels()[0]:
        keys: list[Any] = figure.legend(loc="outside lower center", ncols=2).legend_handles
        for key in keys:  # all of one size, whatever the first bin's
            key.set_sizes([30])
    return figure


@in_style
def training_figure(series: Series, *, best: int | None = None) -> Figure:
    """Draw loss and scores against images seen, one panel each.

    Names that contain ``loss`` go to the first panel, those with ``acc``, ``f1`` or ``ccc`` to
    the second, the others (learning rate, speed) nowhere. Names that do not speak of training
    are validation's.

    Args:
        series: name → (images seen, value), ….
        best: images seen at the checkpoint that was kept, marked by a line.
    """
    kinds = (("loss", ("loss",)), ("score", ("acc", "f1", "ccc")))
    drawn = [
        (title, {n: v for n, v in series.items() if any(m in n for m in marks) and len(v)})
        for title, marks in kinds
    ]
    drawn = [(title, lines) for title, lines in drawn if lines] or [("loss", {})]
    figure, all_axes = panels(1, len(drawn), inches=(PANEL_INCHES[0] * 0.85, PANEL_INCHES[1]))
    for axes, (title, lines) in zip(all_axes, drawn, strict=True):
        for index, (name, points) in enumerate(sorted(lines.items())):
            kimg = [seen / 1000 for seen, _ in points]
            axes.plot(
                kimg,
                [value for _, value in points],
                color=SERIES[index % len(SERIES)],
                marker="o" if len(points) < 40 else None,
                markersize=3.5,
                label=_series_title(name),
            )
        if best is not None:
            axes.axvline(best / 1000, color=BASELINE, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set(xlabel="thousand images seen")
        axes.set_title(title)
        if title == "score":
            _percent(axes, "y")
        if lines:
            axes.legend()
    return figure


def _series_title(name: str) -> str:
    """Name a series for people: ``fit/macro_f1`` → ``validation macro-F1``."""
    words = name.rpartition("/")[2].replace("macro_f1", "macro-F1").replace("_", " ")
    return words if words.startswith(("train", "validation")) else f"validation {words}"


@in_style
def bars_figure(
    values: Mapping[str, float], *, unit: str, title: str = "", total: bool = False
) -> Figure:
    """Draw named amounts as horizontal bars, in the order given.

    Args:
        values: name → amount, at least 0.
        unit: of the amounts, shown behind each.
        title: above the picture.
        total: also write each bar's share of the sum.
    """
    names = list(values)
    figure, (axes,) = panels(inches=(PANEL_INCHES[0], 0.75 + 0.26 * len(names)))
    amounts = [values[n] for n in names]
    places = range(len(names))
    axes.barh(places, amounts, color=SERIES[0], height=0.62)
    whole = sum(amounts) or 1.0
    reach = max(amounts, default=1.0) or 1.0
    for place, amount in zip(places, amounts, strict=True):
        share = f" · {100 * amount / whole:.0f}%" if total else ""
        axes.text(amount + reach * 0.02, place, f"{amount:,.3g} {unit}{share}", va="center")
    axes.set_yticks(places, [n if len(n) <= 28 else n[:27] + "…" for n in names])
    axes.set_xlim(0, reach * 1.35)
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(title)
    return figure


def _percent(axes: Axes, which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    if which in ("x", "both"):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if which in ("y", "both"):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

"""One look for every picture: colours, type, and how a figure becomes PNG or page-ready SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from mien.core.digest import digest_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

INK = "#1c2024"
MUTED = "#60646c"
GRID = "#e0e3e8"
PAPER = "#ffffff"

# Okabe and Ito 2008, "Color universal design": told apart with every common colour blindness.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
CEILING = "#009e73"
SHUFFLED = "#cc79a7"
BASELINE = "#8d8d97"
PLAIN = "#6f6e77"

# What a page may restyle: its dark scheme gives these variables other values.
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES, start=1)},
    BASELINE: "--baseline",
    PLAIN: "--plain",
}

PANEL_INCHES = (4.5, 3.1)  # drawn so that 9 pt stays readable when shrunk to a phone's width
DPI = 144

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": PAPER,
    "text.color": INK,
    "text.parse_math": False,  # names are data: a dollar sign in one starts no formula
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "mien",
}


def in_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the house style."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return styled


def panels(
    rows: int = 1, columns: int = 1, *, inches: tuple[float, float] = PANEL_INCHES
) -> tuple[Figure, list[Axes]]:
    """Open a figure of equal panels on the headless canvas; call it ``in_style``.

    Args:
        rows: of panels.
        columns: of panels.
        inches: width and height of one panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(inches[0] * columns, inches[1] * rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def to_png(figure: Figure) -> bytes:
    """Draw a figure as PNG bytes on white."""
    return _saved(figure, "png")


@in_style
def _saved(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    # No dates and no versions: the same figure gives the same bytes.
    nothing = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    out = io.BytesIO()
    figure.savefig(out, format=form, metadata=nothing)
    return out.getvalue()


def to_page(figure: Figure, *, label: str) -> str:
    """Draw a figure as one ``<svg>`` element to be put into a page.

    Text stays text, the palette becomes CSS variables with the printed colours as fallbacks, ids
    are made unique by the picture's digest, and nothing refers to anything outside.

    Args:
        figure: what to draw.
        label: what the picture shows, for people who cannot see it.
    """
    from markupsafe import escape

    body = _saved(figure, "svg").decode()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    # The first patch is the figure's white background; a page has its own.
    body = re.sub(r'<g id="patch_1">.*?</g>', "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", body)
    body = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', _opening(str(escape(label))), body)
    prefix = "p" + digest_bytes(body.encode())[:8] + "-"
    body = re.sub(r'\bid="', f'id="{prefix}', body)
    body = re.sub(r"url\(#", f"url(#{prefix}", body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}', body)
    for colour, variable in VARIABLES.items():
        body = re.sub(rf"(?<=: ){colour}\b", f"var({variable}, {colour})", body)
    body = body.replace("'DejaVu Sans', sans-serif", "var(--sans, sans-serif)")
    return re.sub(r"\s*\n\s*", " ", body).strip()


def _opening(label: str) -> Callable[[re.Match[str]], str]:
    look = "stroke-linejoin: round; stroke-linecap: butt"
    return lambda found: f'<svg role="img" aria-label="{label}" {found[1]} style="{look}">'

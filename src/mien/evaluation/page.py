"""What every page of ours is made with: templates, one style sheet, pictures as data."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from mien.core.errors import Invalid
from mien.evaluation.curve import role_title
from mien.evaluation.plots_style import to_page
from mien.evaluation.report_data import Sheet
from mien.evaluation.report_notes import signed_points
from mien.evaluation.report_view import (
    count,
    decimal,
    duration,
    gain_words,
    macro_average,
    p_value,
    percent,
    when,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
_PNG = b"\x89PNG\r\n\x1a\n"


@cache
def page_environment() -> Environment:
    """Templates with our filters; everything put into them is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "decimal": decimal,
        "p_value": p_value,
        "count": count,
        "duration": duration,
        "points": signed_points,
        "role": role_title,
        "gain": gain_words,
        "macro": macro_average,
        "when": when,
        "arm": _breakable,
    }
    # Our own style sheet, not input: the one text that is not escaped.
    environment.globals["css"] = Markup((TEMPLATES / "report.css").read_text("utf-8"))  # noqa: S704
    return environment


def _breakable(arm: str) -> Markup:
    """Let a long arm name break before its pool: ``r5@invented``."""
    return Markup("<wbr>@").join(arm.split("@"))


def page_picture(figure: Figure, label: str) -> Markup:
    """Turn a figure into page markup; its texts were escaped when it was drawn."""
    return Markup(to_page(figure, label=label))  # noqa: S704


def page_sheet(sheet: Sheet) -> dict[str, Any]:
    """Put a sheet into the page as data, with its size so that nothing jumps.

    Raises:
        Invalid: ``SHEET_IMAGE`` when it is no PNG.
    """
    if sheet.png[:8] != _PNG or len(sheet.png) < 24:
        raise Invalid("SHEET_IMAGE", f"the sheet {sheet.title!r} is no PNG")
    width, height = (int.from_bytes(sheet.png[at : at + 4], "big") for at in (16, 20))
    return {
        "sheet": sheet,
        "source": "data:image/png;base64," + base64.b64encode(sheet.png).decode(),
        "width": width,
        "height": height,
        "shown": sheet.width_px or width,
    }

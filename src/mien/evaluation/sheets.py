"""Contact sheets: many faces at a glance, one identity a row, one expression a column."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mien.core.arrays import UInt8
from mien.core.errors import Invalid

if TYPE_CHECKING:
    from PIL.Image import Image

_PAPER, _INK, _MUTED, _EMPTY = 255, 32, 100, 238  # gray levels


def contact_sheet(
    faces: Sequence[Sequence[UInt8 | None]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    caption: str = "",
    cell_px: int = 96,
    gap_px: int = 4,
) -> bytes:
    """Lay faces out as a table and return it as PNG bytes.

    Args:
        faces: rows of images, (H, W) or (H, W, 3) uint8 of any size; None leaves a grey cell.
            Shorter rows are filled up with grey cells.
        columns: headings, one a column, or ().
        rows: headings, one a row, or ().
        caption: a line above everything.
        cell_px: side of the square that each face is fitted into.
        gap_px: between cells.

    Raises:
        Invalid: ``EMPTY_SHEET`` without faces; ``SHEET_HEADINGS`` when headings do not match the
            table; ``SHEET_IMAGE`` for an array that is no uint8 image.
    """
    from PIL import Image, ImageDraw, ImageFont

    width = max((len(row) for row in faces), default=0)
    if width == 0:
        raise Invalid("EMPTY_SHEET", "a contact sheet needs at least one face")
    for names, count, what in ((columns, width, "columns"), (rows, len(faces), "rows")):
        if names and len(names) != count:
            raise Invalid("SHEET_HEADINGS", f"{len(names)} headings for {count} {what}")
    size = max(11, round(cell_px * 0.15))
    font = ImageFont.load_default(size)
    left = max((round(font.getlength(name)) for name in rows), default=-2 * gap_px) + 3 * gap_px
    line = round(size * 1.5)
    top = gap_px + line * (bool(caption) + bool(columns))
    step = cell_px + gap_px
    sheet = Image.new("L", (left + width * step, top + len(faces) * step), _PAPER)
    pen = ImageDraw.Draw(sheet)
    if caption:
        pen.text((gap_px, gap_px), caption, font=font, fill=_INK)
    for index, name in enumerate(columns):
        shown = _fitted(name, cell_px, font.getlength)
        middle = left + index * step + cell_px / 2
        pen.text((middle, top - line / 2), shown, font=font, fill=_MUTED, anchor="mm")
    for index, name in enumerate(rows):
        middle = top + index * step + cell_px / 2
        pen.text((gap_px, middle), name, font=font, fill=_MUTED, anchor="lm")
    if any(face is not None and np.ndim(face) == 3 for row in faces for face in row):
        sheet = sheet.convert("RGB")
    for y, row in enumerate(faces):
        for x in range(width):
            face = row[x] if x < len(row) else None
            place = (left + x * step, top + y * step)
            sheet.paste(_cell(face, cell_px, sheet.mode), place)
    out = io.BytesIO()
    sheet.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _fitted(name: str, room_px: int, length: Callable[[str], float]) -> str:
    """Shorten a heading until it fits its column."""
    if length(name) <= room_px:
        return name
    while len(name) > 1 and length(name + "…") > room_px:
        name = name[:-1]
    return name + "…"


def _cell(face: UInt8 | None, cell_px: int, mode: str) -> Image:
    from PIL import Image

    cell = Image.new("L", (cell_px, cell_px), _EMPTY).convert(mode)
    if face is None:
        return cell
    pixels = np.asarray(face)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise Invalid("SHEET_IMAGE", f"{pixels.dtype} {pixels.shape} is no uint8 gray or RGB image")
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert(mode)
    scale = cell_px / max(picture.size)
    shown = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(shown, Image.Resampling.LANCZOS)
    cell.paste(picture, ((cell_px - shown[0]) // 2, (cell_px - shown[1]) // 2))
    return cell

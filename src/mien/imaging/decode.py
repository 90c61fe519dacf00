"""Decode untrusted image bytes; everything is limited before a pixel is decoded.

Only PNG, JPEG, WebP, TIFF and BMP are read, recognised by their content. Of several frames the
first is taken. Colour profiles are ignored: pixels are taken as sRGB.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from mien.core.arrays import UInt8
from mien.core.errors import Invalid
from mien.imaging import headers
from mien.imaging.levels import over_gray, to_eight_bits, upright

# Upper estimates of the time to decode one pixel on one core of a few years ago.
_NS_PER_PIXEL = {"PNG": 40.0, "JPEG": 25.0, "WEBP": 60.0, "TIFF": 60.0, "BMP": 15.0}
_ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# LAB and HSV are left out: without a profile their colours would be a guess.
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# What Pillow's parsers raise on damaged files (warnings, where they are made errors).
_FOREIGN = (
    Warning,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is decoded at most; all of it checked on the header, before decoding.

    Attributes:
        max_bytes: encoded size.
        max_pixels: width × height (beyond 178 million Pillow refuses whatever is said here).
        max_side_px: the longer side.
        max_decode_s: *estimated* decoding time. It is not a clock: a decoder in C cannot be
            stopped from its own thread. Pixels × an upper cost per pixel of the format × the
            number of scans (progressive JPEG) must stay below it, which bounds the time on an
            idle machine of usual speed.
        extension: what a name is that claims another image format than the bytes have: an
            ``error``; or ``ignore`` it, for bytes encoded again since they were named.
    """

    max_bytes: int = 64 << 20
    max_pixels: int = 64_000_000
    max_side_px: int = 20_000
    max_decode_s: float = 10.0
    extension: Literal["error", "ignore"] = "error"


LIMITS = Limits()
# For items of dataset versions: their names are those of the files they once were.
STORED = Limits(extension="ignore")


def decode(data: bytes, *, name: str = "", limits: Limits = LIMITS) -> UInt8:
    """Decode one image to (H, W) gray or (H, W, 3) RGB uint8, upright.

    EXIF orientation is applied. Transparency is composited on mid-grey (128). 16-bit and float
    pixels are scaled, never clipped (``levels.to_eight_bits``; of 16-bit colour TIFF the high
    byte is taken). CMYK, YCbCr and palettes become RGB; gray stays gray.

    Args:
        data: encoded bytes.
        name: of the file, for messages; its extension must not claim another format.
        limits: what is decoded at most.

    Raises:
        Invalid: naming the file. ``EMPTY_IMAGE``, ``IMAGE_TOO_LARGE`` (bytes),
            ``UNSUPPORTED_FORMAT``, ``WRONG_EXTENSION``, ``IMAGE_TOO_MANY_PIXELS``,
            ``IMAGE_TOO_SLOW`` (estimated), ``TRUNCATED_IMAGE``, ``BROKEN_IMAGE``.
    """
    kind = _kind(data, name, limits)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as picture:
            _check_size(picture, data, kind, name, limits)
            picture.load()
            return _pixels(picture, data, kind, name)
    except Invalid:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(name, str(error)) from None
    except _FOREIGN as error:
        raise _unreadable(data, kind, name, error) from None


def measure(data: bytes, *, name: str = "", limits: Limits = LIMITS) -> tuple[int, int]:
    """Check all that can be told before decoding; returns the stored width and height in pixels.

    They are those of the header, before any EXIF rotation.

    Args:
        data: encoded bytes.
        name: of the file, for messages; its extension must not claim another format.
        limits: as for ``decode``.

    Raises:
        Invalid: as ``decode``, also ``TRUNCATED_IMAGE`` where the end is missing.
    """
    kind = _kind(data, name, limits)
    if headers.ends_early(data, kind):
        raise _truncated(data, kind, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[kind]) as picture:
                _check_size(picture, data, kind, name, limits)
                return picture.size
    except Invalid:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(name, str(error)) from None
    except _FOREIGN as error:
        raise _unreadable(data, kind, name, error) from None


def _kind(data: bytes, name: str, limits: Limits) -> str:
    if not data:
        raise Invalid(
            "EMPTY_IMAGE",
            f"{_called(name)} has no bytes",
            hint="restore or remove it",
            details={"file": name},
        )
    if len(data) > limits.max_bytes:
        raise Invalid(
            "IMAGE_TOO_LARGE",
            f"{_called(name)} has {len(data)} bytes, more than {limits.max_bytes}",
            hint="make it smaller",
            details={"file": name},
        )
    kind = headers.sniff(data)
    if kind is None:
        raise Invalid(
            "UNSUPPORTED_FORMAT",
            f"{_called(name)} is no image that is read here: it begins with {data[:8]!r}",
            hint="PNG, JPEG, WebP, TIFF and BMP are read",
            details={"file": name},
        )
    claim = headers.claimed(name)
    if limits.extension == "error" and claim not in (None, kind):
        raise Invalid(
            "WRONG_EXTENSION",
            f"{_called(name)} is named like {claim} but its content is {kind}",
            hint=f"rename it to end in .{kind.lower()}",
            details={"file": name, "content": kind},
        )
    return kind


def _check_size(picture: Image.Image, data: bytes, kind: str, name: str, limits: Limits) -> None:
    width, height = picture.size
    pixels = width * height
    if max(width, height) > limits.max_side_px or pixels > limits.max_pixels:
        raise _too_many_pixels(name, f"{width} × {height} pixels")
    if kind == "TIFF":
        pixels = max(pixels, _tile_pixels(picture, name, limits))
    scans = headers.jpeg_scans(data) if kind == "JPEG" else 1
    seconds = pixels * scans * _NS_PER_PIXEL[kind] * 1e-9
    if seconds > limits.max_decode_s:
        raise Invalid(
            "IMAGE_TOO_SLOW",
            f"{_called(name)} ({width} × {height}, {scans} scans) would take about "
            f"{seconds:.0f} s to decode, more than {limits.max_decode_s:g} s",
            hint="save it smaller, or without progressive scans",
        )


def _tile_pixels(picture: Image.Image, name: str, limits: Limits) -> int:
    """Bound what one tile of a TIFF unpacks to: it may exceed the picture."""
    tags = getattr(picture, "tag_v2", {})
    width, length = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_LENGTH, 1)
    if not (isinstance(width, int) and isinstance(length, int)):
        raise Invalid(
            "BROKEN_IMAGE",
            f"{_called(name)} has tiles of no size",
            hint="save it again with another program, or remove it",
        )
    if width * length > limits.max_pixels:
        raise _too_many_pixels(name, f"tiles of {width} × {length} pixels")
    return width * length


def _pixels(picture: Image.Image, data: bytes, kind: str, name: str) -> UInt8:
    if kind == "PNG" and data[12:16] == b"IHDR" and data[24] == 16:
        pixels = _deep_png(data, name)
    elif picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        pixels = to_eight_bits(np.asarray(picture), _called(name))
    elif picture.mode in _MODES:
        pixels = _shallow(picture)
    else:
        raise Invalid(
            "UNSUPPORTED_FORMAT",
            f"{_called(name)} has pixels of the kind {picture.mode}, which is not read here",
            hint="save it as RGB",
        )
    return upright(pixels, _orientation(picture))


def _deep_png(data: bytes, name: str) -> UInt8:
    """Decode a 16-bit PNG that Pillow could load: Pillow would keep the high bytes only."""
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None:
        raise Invalid(
            "BROKEN_IMAGE",
            f"{_called(name)} cannot be decoded",
            hint="save it again with another program, or remove it",
        )
    pixels = to_eight_bits(deep, _called(name))
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., 2::-1]
    return over_gray(colours, pixels[..., 3]) if pixels.shape[2] == 4 else colours


def _shallow(picture: Image.Image) -> UInt8:
    gray = picture.mode in ("1", "L", "LA", "La")
    if picture.has_transparency_data:
        premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(picture.mode)
        picture = picture.convert(premultiplied) if premultiplied else picture
        both = np.asarray(picture.convert("LA" if gray else "RGBA"))
        return over_gray(both[..., 0] if gray else both[..., :3], both[..., -1])
    return np.asarray(picture.convert("L" if gray else "RGB"))


def _orientation(picture: Image.Image) -> int:
    """Read EXIF orientation; damaged EXIF says nothing about the pixels and is ignored."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except _FOREIGN:
        return 1


def _unreadable(data: bytes, kind: str, name: str, error: BaseException) -> Invalid:
    if isinstance(error, MemoryError):
        return Invalid(
            "IMAGE_TOO_MANY_PIXELS",
            f"{_called(name)} does not fit into memory",
            hint="make it smaller, or free some memory",
        )
    if headers.ends_early(data, kind) or "truncated" in str(error).lower():
        return _truncated(data, kind, name)
    return Invalid(
        "BROKEN_IMAGE",
        f"{_called(name)} ({kind}) cannot be decoded: {error}",
        hint="copy it again from its source, or remove it",
        details={"file": name},
    )


def _truncated(data: bytes, kind: str, name: str) -> Invalid:
    return Invalid(
        "TRUNCATED_IMAGE",
        f"{_called(name)} ({kind}, {len(data)} bytes) ends too early",
        hint="copy it again from its source, or remove it",
        details={"file": name},
    )


def _too_many_pixels(name: str, what: str) -> Invalid:
    return Invalid(
        "IMAGE_TOO_MANY_PIXELS",
        f"{_called(name)} is too large: {what}",
        hint="make it smaller",
        details={"file": name},
    )


def _called(name: str) -> str:
    return name or "the image"

"""What encoded bytes are, told from the bytes themselves, before anything is decoded."""

from __future__ import annotations

from pathlib import PurePath

# Longest first where one is the beginning of another.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # BigTIFF
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
)
# Extensions that claim a format; the ones we do not read are listed so that they are not ignored.
_CLAIMS: dict[str, str] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".heic": "HEIC",
    ".jp2": "JPEG2000",
}


def sniff(data: bytes) -> str | None:
    """Name the format of the bytes: PNG, JPEG, WEBP, TIFF or BMP; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def claimed(name: str) -> str | None:
    """Name the format that a file's extension claims, or None when it claims none."""
    return _CLAIMS.get(PurePath(name).suffix.lower())


def jpeg_scans(data: bytes) -> int:
    """Count the scans of a JPEG: a progressive one costs a pass over all pixels for each.

    Start-of-scan markers cannot occur inside entropy-coded data (an 0xFF there is followed by
    0x00 or a restart marker), so counting them is exact but for thumbnails, which only add.
    """
    return max(1, data.count(b"\xff\xda"))


def ends_early(data: bytes, kind: str) -> bool:
    """Say whether the bytes lack the end that their format requires."""
    if kind == "PNG":
        return b"IEND" not in data[-16:] and data.rfind(b"IEND") < 0
    if kind == "JPEG":
        return data.rfind(b"\xff\xd9") < 0
    if kind == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False

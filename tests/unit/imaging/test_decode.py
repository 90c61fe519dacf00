"""Decoding untrusted bytes."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from mien.core.arrays import AnyArray, UInt8
from mien.core.errors import Invalid
from mien.imaging.decode import STORED, Limits, decode
from mien.imaging.encode import encode_png

KINDS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")


def picture(height: int = 24, width: int = 32) -> UInt8:
    """A smooth colour picture, different in each corner."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [255 * y / (height - 1), 255 * x / (width - 1), np.full_like(x, 60)], axis=-1
    ).astype(np.uint8)


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def exact(kind: str) -> dict[str, Any]:
    return {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}


def reason(data: bytes, **how: Any) -> str:
    with pytest.raises(Invalid) as caught:
        decode(data, **how)
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gray", [True, False])
def test_each_format_decodes_to_its_pixels(kind, gray):
    """RGB to (H, W, 3), gray to (H, W); exact, but for JPEG's loss. WebP knows no gray."""
    pixels = picture()[..., 0] if gray else picture()
    found = decode(saved(Image.fromarray(pixels), kind, **exact(kind)), name=f"x.{kind.lower()}")
    expected = np.repeat(pixels[..., None], 3, axis=2) if gray and kind == "WEBP" else pixels
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (12 if kind == "JPEG" else 0)


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), rgb=st.booleans(), seed=st.integers(0, 99)
)
def test_what_we_encode_we_decode(height, width, rgb, seed):
    """PNG keeps every pixel of every size, and the same pixels give the same bytes."""
    shape = (height, width, 3) if rgb else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    data = encode_png(pixels)
    assert np.array_equal(decode(data), pixels)
    assert encode_png(np.asfortranarray(pixels)) == data


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_only_images_are_encoded(pixels):
    """Other shapes and types are refused by name."""
    with pytest.raises(Invalid) as caught:
        encode_png(pixels)
    assert caught.value.reason == "IMAGE_TYPE"


UPRIGHT = picture()
STORED_AS: dict[int, AnyArray] = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),  # shown after a quarter turn clockwise
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation_is_undone(kind, orientation):
    """All eight, in every format that has EXIF; checked against Pillow's own transposition."""
    image = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation]))
    exif = image.getexif()
    exif[0x0112] = orientation
    how = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    found = decode(saved(image, kind, **exact(kind), **how))
    assert found.shape == UPRIGHT.shape
    assert np.abs(found.astype(int) - UPRIGHT).max() <= (12 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"]
)
def test_damaged_exif_does_not_matter(exif):
    """The pixels are fine."""
    data = saved(Image.fromarray(UPRIGHT), "JPEG", quality=95, exif=exif)
    assert decode(data).shape == UPRIGHT.shape


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_upright(value):
    """As other programs read it."""
    image = Image.fromarray(UPRIGHT)
    exif = image.getexif()
    exif[0x0112] = value
    assert np.array_equal(decode(saved(image, "PNG", exif=exif)), UPRIGHT)


def test_sixteen_bits_are_scaled_not_clipped():
    """Gray and colour, PNG and TIFF: 65535 is white, a ramp stays a ramp."""
    ramp = np.linspace(0, 65535, 32 * 24).reshape(24, 32).astype(np.uint16)
    expected = np.rint(ramp / 257).astype(np.uint8)
    for suffix in (".png", ".tiff"):
        assert np.array_equal(decode(cv2.imencode(suffix, ramp)[1].tobytes()), expected)
    colour = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1)  # BGR
    wanted = np.stack([expected[:, ::-1], expected[::-1], expected], axis=-1)
    assert np.array_equal(decode(cv2.imencode(".png", colour)[1].tobytes()), wanted)
    tiff = decode(cv2.imencode(".tiff", colour)[1].tobytes()).astype(int)
    assert np.abs(tiff - wanted).max() <= 1  # the high byte


def test_sixteen_bit_transparency():
    """Composited after scaling: opaque stays, transparent is mid-grey."""
    deep = np.full((4, 6, 4), 51400, np.uint16)
    deep[:, :3, 3], deep[:, 3:, 3] = 65535, 0
    found = decode(cv2.imencode(".png", deep)[1].tobytes())
    assert (found[:, :3] == 200).all()
    assert (found[:, 3:] == 128).all()


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [[0, 128, 255]]),
        (np.array([[0.0, 100.4, 255.0]], np.float32), [[0, 100, 255]]),
        (np.array([[0.0, 25700.0, 65535.0]], np.float32), [[0, 100, 255]]),
        (np.array([[0, 100, 255]], np.int32), [[0, 100, 255]]),
        (np.array([[0, 25700, 65535]], np.int32), [[0, 100, 255]]),
        (np.array([[0, 25700, 65535]], ">u2"), [[0, 100, 255]]),
    ],
)
def test_float_and_wide_integers(pixels, expected):
    """The smallest usual white that no pixel exceeds."""
    assert decode(saved(Image.fromarray(pixels), "TIFF")).tolist() == expected


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.array([[np.nan, 1.0]], np.float32), "BROKEN_IMAGE"),
        (np.array([[np.inf, 1.0]], np.float32), "BROKEN_IMAGE"),
        (np.array([[-1.0, 1.0]], np.float32), "BROKEN_IMAGE"),
        (np.array([[0, 1 << 20]], np.int32), "UNSUPPORTED_FORMAT"),
    ],
)
def test_pixels_without_a_meaning_are_refused(pixels, why):
    """NaN, infinite, negative, or of unknown range."""
    assert reason(saved(Image.fromarray(pixels), "TIFF")) == why


def test_one_bit_is_black_and_white():
    """0 and 255, gray."""
    bits = picture()[..., 0] > 100
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(saved(Image.fromarray(bits), kind)), bits * np.uint8(255))


def test_cmyk_and_ycbcr_become_rgb():
    """With and without Adobe's inversion."""
    image = Image.fromarray(picture())
    for mode, kind in (("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("YCbCr", "JPEG")):
        how = exact(kind) | ({"subsampling": 0} if kind == "JPEG" else {})
        found = decode(saved(image.convert(mode), kind, **how)).astype(int)
        assert found.shape == (24, 32, 3)
        assert np.abs(found - picture()).max() <= 14, (mode, kind)


def test_lab_says_that_it_is_not_read():
    """An error, not wrong colours."""
    data = saved(Image.new("LAB", (4, 4)), "TIFF")
    assert reason(data) == "UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_become_their_colours(bits):
    """Of any depth; with a transparent entry, mid-grey shows through."""
    image = Image.fromarray(picture()).quantize(2**bits)
    assert np.array_equal(decode(saved(image, "PNG", bits=bits)), np.asarray(image.convert("RGB")))
    clear = int(np.asarray(image)[0, 0])
    found = decode(saved(image, "PNG", bits=bits, transparency=clear))
    where = np.asarray(image) == clear
    assert (found[where] == 128).all()
    assert np.array_equal(found[~where], np.asarray(image.convert("RGB"))[~where])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_on_mid_grey(kind):
    """Opaque, transparent, and a quarter."""
    rgba = np.full((4, 9, 4), (200, 100, 0, 255), np.uint8)
    rgba[:, 3:6, 3], rgba[:, 6:, 3] = 0, 64
    found = decode(
        saved(
            Image.fromarray(rgba),
            kind,
            **exact(kind),
            **({"exact": True} if kind == "WEBP" else {}),
        )
    )
    assert found.shape == (4, 9, 3)
    assert (found[:, :3] == (200, 100, 0)).all()
    assert (found[:, 3:6] == 128).all()
    assert (found[:, 6:] == (146, 121, 96)).all()


def test_gray_with_alpha_stays_gray():
    """LA, and gray with one transparent value."""
    la = np.full((4, 6, 2), (200, 255), np.uint8)
    la[:, 3:, 1] = 0
    found = decode(saved(Image.fromarray(la), "PNG"))
    assert found.tolist() == [[200, 200, 200, 128, 128, 128]] * 4
    plain = Image.fromarray(np.array([[10, 20, 30]], np.uint8))
    assert decode(saved(plain, "PNG", transparency=20)).tolist() == [[10, 128, 30]]
    colour = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    found = decode(saved(colour, "PNG", transparency=(4, 5, 6)))
    assert found.tolist() == [[[1, 2, 3], [128, 128, 128]]]


def test_of_several_frames_the_first_is_taken():
    """Multi-page TIFF, animated PNG and WebP."""
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    for kind in ("TIFF", "PNG", "WEBP"):
        data = saved(first, kind, save_all=True, append_images=[second], **exact(kind))
        assert np.array_equal(decode(data), picture()), kind


@pytest.mark.parametrize(
    "how", [{"interlace": 1}, {"compress_level": 0}, {"progressive": True}, {"optimize": True}]
)
def test_other_ways_to_save(how):
    """Interlaced and stored PNG, progressive JPEG."""
    kind = "JPEG" if "progressive" in how else "PNG"
    found = decode(saved(Image.fromarray(picture()), kind, **how)).astype(int)
    assert np.abs(found - picture()).max() <= (30 if kind == "JPEG" else 0)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_tiff_compressions(compression):
    """Those that cameras and scanners use."""
    found = decode(saved(Image.fromarray(picture()), "TIFF", compression=compression)).astype(int)
    assert np.abs(found - picture()).max() <= (20 if compression == "jpeg" else 0)


def test_no_bytes():
    """A file of zero bytes is named."""
    with pytest.raises(Invalid, match=r"a/b\.png has no bytes") as caught:
        decode(b"", name="a/b.png")
    assert caught.value.reason == "EMPTY_IMAGE"


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a\x01\x00\x01\x00",
        b"%PDF-1.4",
        b"<svg xmlns='x'/>",
        b"\x00\x00\x00\x1cftypavif",
        b"\x00" * 100,
        b"\x89PN",
        b"#!/bin/sh",
        b"%!PS-Adobe EPSF",
        b"RIFF\x00\x00\x00\x00WAVE",
    ],
)
def test_other_formats_are_refused_by_content(data):
    """Whatever the name says: in particular nothing that Pillow would hand to other programs."""
    for name in ("", "x.png"):
        assert reason(data, name=name) == "UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_extension_is_an_error_that_can_be_switched_off(kind):
    """The content is read either way; the message says both."""
    data = saved(Image.fromarray(picture()), kind, **exact(kind))
    right = {"PNG": ".PNG", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
    for other, suffix in right.items():
        if other == kind:
            decode(data, name=f"face{suffix}")
            continue
        with pytest.raises(
            Invalid, match=f"named like {other} but its content is {kind}"
        ) as caught:
            decode(data, name=f"some/face{suffix}")
        assert caught.value.reason == "WRONG_EXTENSION"
        assert f"some/face{suffix}" in caught.value.message
        assert decode(data, name=f"face{suffix}", limits=STORED).shape == (24, 32, 3)
    for name in ("face", "face.old", "", "v1.2/face", "face.gif.bak"):
        decode(data, name=name)
    assert reason(data, name="face.gif") == "WRONG_EXTENSION"


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_is_noticed_at_every_length(kind):
    """Either an error, or every pixel (only marks behind the picture were cut off)."""
    whole = saved(Image.fromarray(picture()), kind, **exact(kind))
    good = decode(whole)
    refused, found = 0, set()
    lengths = range(1, len(whole), max(1, len(whole) // 150))
    for length in lengths:
        try:
            assert np.array_equal(decode(whole[:length], name="x"), good), length
        except Invalid as error:
            refused += 1
            found.add((error.reason, error.message[:2]))
    assert {why for why, _ in found} <= {"TRUNCATED_IMAGE", "BROKEN_IMAGE", "UNSUPPORTED_FORMAT"}
    assert {begin for _, begin in found} == {"x "}
    assert refused > 0.8 * len(lengths)
    assert reason(whole[: len(whole) // 2]) == "TRUNCATED_IMAGE"


@settings(max_examples=300)
@given(
    kind=st.sampled_from(KINDS),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1),
    head=st.booleans(),
)
def test_damaged_bytes_never_raise_anything_else(kind, flips, head):
    """Only ``Invalid``, or an image; never a crash or a foreign error."""
    data = bytearray(saved(Image.fromarray(picture()), kind, **exact(kind)))
    reach = min(len(data), 100) if head else len(data)
    for at, flip in flips:
        data[int(at * reach)] ^= flip
    with suppress(Invalid):
        assert decode(bytes(data)).dtype == np.uint8


@given(
    st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0+", b"BM", b"RIFF____WEBP"]
    ),
    st.binary(max_size=200),
)
def test_nonsense_behind_a_true_beginning(magic, rest):
    """An error each time."""
    with pytest.raises(Invalid):
        decode(magic + rest)


def png(width: int, height: int, body: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header says any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def tiff(tags: dict[int, int]) -> bytes:
    """A little-endian TIFF with one directory of long tags and no pixels."""
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + b"\0" * 64


TIFF_TAGS = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: 64}


@pytest.mark.parametrize(
    "bomb",
    [
        png(100_000, 100_000),
        png(1, 100_000),
        png(2**31 - 1, 2**31 - 1),
        png(9000, 9000, b"\0" * 1000),
        tiff({**TIFF_TAGS, 256: 100_000, 257: 100_000}),
        tiff({**TIFF_TAGS, 256: 30_000}),
        tiff({**TIFF_TAGS, 259: 8, 322: 65536, 323: 65536, 324: 8, 325: 64}),
        b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65535, 65535, 1) + b"\1\x11\0",
    ],
)
def test_bombs_are_refused_on_their_header(bomb):
    """Decoding would fail otherwise, for there are no pixels behind these headers."""
    assert reason(bomb, name="bomb") == "IMAGE_TOO_MANY_PIXELS"


def test_a_text_bomb_inside_a_png_is_refused():
    """A compressed comment that unpacks to 256 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 1000, zip=True)
    data = saved(Image.fromarray(picture()), "PNG", pnginfo=info)
    bomb = zlib.compress(b"a" * (1 << 28))
    start = data.find(b"zTXt") - 4
    size = struct.unpack(">I", data[start : start + 4])[0]
    name = b"zTXtcomment\0\0" + bomb
    chunk = struct.pack(">I", len(name) - 4) + name + struct.pack(">I", zlib.crc32(name))
    assert reason(data[:start] + chunk + data[start + 12 + size :]) == "BROKEN_IMAGE"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(max_bytes=50), "IMAGE_TOO_LARGE"),
        (Limits(max_pixels=24 * 32 - 1), "IMAGE_TOO_MANY_PIXELS"),
        (Limits(max_side_px=31), "IMAGE_TOO_MANY_PIXELS"),
        (Limits(max_decode_s=1e-6), "IMAGE_TOO_SLOW"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_limit_holds_for_every_format(kind, limits, why):
    """And names the file."""
    data = saved(Image.fromarray(picture()), kind, **exact(kind))
    with pytest.raises(Invalid, match=r"^face ") as caught:
        decode(data, name="face", limits=limits)
    assert caught.value.reason == why
    assert decode(data, limits=Limits(max_pixels=24 * 32, max_side_px=32)).shape == (24, 32, 3)


def test_many_scans_are_refused():
    """A progressive JPEG costs a pass over all pixels for each scan: they count."""
    data = saved(Image.fromarray(picture(2000, 3000)), "JPEG", progressive=True)
    decode(data)
    scan = data.rfind(b"\xff\xda")
    again = data[:scan] + data[scan:-2] * 120 + data[-2:]
    assert reason(again) == "IMAGE_TOO_SLOW"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_another_decoder_agrees(kind):
    """OpenCV reads the same pixels from lossless files."""
    data = saved(Image.fromarray(picture()), kind, **exact(kind))
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert other is not None
    assert np.array_equal(decode(data), other[..., ::-1])

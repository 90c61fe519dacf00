"""Requests that are nearly right: plausible messages, and their bytes, damaged.

Everything comes from a seeded generator, so that a failure can be sent again.
"""

from __future__ import annotations

import io
import math
import random
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from PIL import Image

INTEGERS = {
    F.TYPE_INT32: (-(2**31), 2**31 - 1),
    F.TYPE_INT64: (-(2**63), 2**63 - 1),
    F.TYPE_UINT32: (0, 2**32 - 1),
    F.TYPE_UINT64: (0, 2**64 - 1),
}
WORDS = (
    "",
    "faces",
    "faces@latest",
    "@",
    "a" * 64,
    "0" * 64,
    "demo_lab/017/anger.png",
    "demo_lab:017",
    "demo_lab",
    "noise",
    "affect",
    "expression/1",
    "expression@champion",
    "trial-" + "0" * 16,
    "../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:1/x",
    "memory://x",
    "~/.ssh",
    "x" * 5000,
    "\u0000",
    "ä€😀",
    "%s%n{0}",
    "'; drop table jobs; --",
    '{"a": [1, {"b": null}]}',
    "[" * 2000,
    "{}",
    "NaN",
    "-1",
    "sweep:\n  seeds: 1",
    "a=b",
)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1e308, -1e-308, math.nan, math.inf, -math.inf)
DEPTH = 4


def picture(rng: random.Random) -> bytes:
    """Encode a small picture: noise or a plane, sometimes cut off."""
    pixels = np.frombuffer(rng.randbytes(24 * 24), np.uint8).reshape(24, 24)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=rng.choice(["PNG", "JPEG", "BMP"]))
    data = stream.getvalue()
    return data[: rng.randrange(len(data))] if rng.random() < 0.3 else data


def plausible(kind: type[Message], rng: random.Random, depth: int = 0) -> Message:
    """Fill a message with values that might be meant."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.25:
            continue
        try:
            _fill(message, field, rng, depth)
        except (ValueError, TypeError):  # a value that its field refuses on this side already
            message.ClearField(field.name)
    return message


def _fill(message: Message, field: Any, rng: random.Random, depth: int) -> None:
    target = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[n] for n in ("key", "value"))
        for _ in range(rng.randrange(3)):
            if value.message_type is not None:
                entry = GetMessageClass(value.message_type)
                target[_value(key, rng)].CopyFrom(plausible(entry, rng, depth + 1))
            else:
                target[_value(key, rng)] = _value(value, rng)
        return
    if field.message_type is not None:
        if depth >= DEPTH:
            return
        inner = GetMessageClass(field.message_type)
        if field.is_repeated:
            target.extend(plausible(inner, rng, depth + 1) for _ in range(rng.randrange(3)))
        else:
            target.CopyFrom(plausible(inner, rng, depth + 1))
            target.SetInParent()
        return
    if field.is_repeated:
        target.extend(_value(field, rng) for _ in range(rng.randrange(4)))
    else:
        setattr(message, field.name, _value(field, rng))


def _value(field: Any, rng: random.Random):
    if field.type == F.TYPE_STRING:
        return rng.choice(WORDS)
    if field.type == F.TYPE_BYTES:
        return rng.choice([b"", rng.randbytes(50), picture(rng), picture(rng)])
    if field.type == F.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == F.TYPE_ENUM:
        return rng.choice([*(v.number for v in field.enum_type.values), 99])
    if field.type in (F.TYPE_DOUBLE, F.TYPE_FLOAT):
        return rng.choice(FLOATS)
    least, most = INTEGERS[field.type]
    return rng.choice([0, 1, 2, 3, 100, 1000, 1001, least, most])


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes: flip, cut, insert, repeat, or claim a monstrous length."""
    raw = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(raw) + 1)
        what = rng.randrange(6)
        if what == 0 and at < len(raw):
            raw[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            del raw[at : at + rng.randrange(1, 9)]
        elif what == 2:
            raw[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif what == 3:
            raw[at:at] = raw[at : at + rng.randrange(1, 65)]
        elif what == 4:
            raw[at:at] = b"\x0a\xff\xff\xff\xff\x0f"  # a field of 4 GiB
        else:
            raw[at:at] = b"\x0a\x7e" * rng.randrange(1, 200)  # fields within fields
    return bytes(raw)

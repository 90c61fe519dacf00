"""Samples and items as messages; a digest of what comes back is the digest of what was sent."""

from __future__ import annotations

from mien.api.type.v1 import face_pb2 as pb
from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS, Affect, Expression
from mien.core.face import Point
from mien.core.sample import Item, Origin, Sample

_EXPRESSIONS: dict[Expression, pb.Expression.ValueType] = {
    e: pb.Expression.Value(f"EXPRESSION_{e.name}") for e in EXPRESSIONS
}
_EXPRESSIONS_BACK = {number: e for e, number in _EXPRESSIONS.items()}
_ORIGINS: dict[Origin, pb.Origin.ValueType] = {
    "real": pb.ORIGIN_REAL,
    "synthetic": pb.ORIGIN_SYNTHETIC,
}
_ORIGINS_BACK = {number: origin for origin, number in _ORIGINS.items()}


def expression_number(expression: Expression | None) -> pb.Expression.ValueType:
    """Return the number of an expression; 0 for none."""
    return pb.EXPRESSION_UNSPECIFIED if expression is None else _EXPRESSIONS[expression]


def expression_of(number: int) -> Expression | None:
    """Return the expression of a number; None for 0.

    Raises:
        Invalid: ``UNKNOWN_EXPRESSION`` for a number that this release does not know.
    """
    if number == 0:
        return None
    try:
        return _EXPRESSIONS_BACK[pb.Expression.ValueType(number)]
    except KeyError:
        raise Invalid(
            "UNKNOWN_EXPRESSION",
            f"the message names expression number {number}",
            hint=f"1 to {len(EXPRESSIONS)}: {', '.join(EXPRESSIONS)}",
        ) from None


def origin_number(origin: Origin | None) -> pb.Origin.ValueType:
    """Return the number of an origin; 0 for none."""
    return pb.ORIGIN_UNSPECIFIED if origin is None else _ORIGINS[origin]


def origin_of(number: int) -> Origin | None:
    """Return the origin of a number; None for 0.

    Raises:
        Invalid: ``BAD_SAMPLE`` for a number that is neither.
    """
    if number == 0:
        return None
    try:
        return _ORIGINS_BACK[pb.Origin.ValueType(number)]
    except KeyError:
        raise Invalid(
            "BAD_SAMPLE", f"the message names origin number {number}", hint="1 real, 2 synthetic"
        ) from None


def affect_of(message: pb.Affect) -> Affect:
    """Read a point of the affect plane; ``Invalid AFFECT_OUT_OF_RANGE`` outside it."""
    return Affect(message.valence, message.arousal)


def point_messages(points: tuple[Point, ...]) -> list[pb.Point]:
    """Write points."""
    return [pb.Point(x=x, y=y) for x, y in points]


def sample_message(sample: Sample) -> pb.Sample:
    """Write a sample.

    Raises:
        Invalid: ``BAD_SAMPLE`` when a field is of the wrong type or out of range.
    """
    try:
        return pb.Sample(
            id=sample.id,
            source=sample.source,
            origin=_ORIGINS[sample.origin],
            subject=sample.subject,
            expression=expression_number(sample.expression),
            valence=sample.valence,
            arousal=sample.arousal,
            intensity=sample.intensity,
            file=sample.file,
            frame=sample.frame,
            sequence=sample.sequence,
            usage=sample.usage,
            identity=sample.identity,
            parents=sample.parents,
            attributes=sample.attributes,
            landmarks=point_messages(sample.landmarks),
            failure=sample.failure,
            digest=sample.digest,
            width=sample.width,
            height=sample.height,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise Invalid(
            "BAD_SAMPLE",
            f"the sample {sample.id!r} ({sample.file!r}) cannot be sent: {error}",
            hint="correct the reader or generator that made it",
            details={"id": repr(sample.id)},
        ) from None


def sample_of(message: pb.Sample) -> Sample:
    """Read a sample.

    Raises:
        Invalid: ``BAD_SAMPLE`` without an origin, or with an unknown one;
            ``UNKNOWN_EXPRESSION``.
    """
    origin = origin_of(message.origin)
    if origin is None:
        raise Invalid(
            "BAD_SAMPLE",
            f"the sample {message.id!r} says not whether it is real",
            hint="set origin",
            details={"id": message.id},
        )
    return Sample(
        id=message.id,
        source=message.source,
        origin=origin,
        subject=message.subject if message.HasField("subject") else None,
        expression=expression_of(message.expression),
        valence=message.valence if message.HasField("valence") else None,
        arousal=message.arousal if message.HasField("arousal") else None,
        intensity=message.intensity if message.HasField("intensity") else None,
        file=message.file,
        frame=message.frame if message.HasField("frame") else None,
        sequence=message.sequence,
        usage=message.usage,
        identity=message.identity,
        parents=tuple(message.parents),
        attributes=dict(sorted(message.attributes.items())),
        landmarks=tuple([(p.x, p.y) for p in message.landmarks]),
        failure=message.failure,
        digest=message.digest,
        width=message.width,
        height=message.height,
    )


def item_message(item: Item) -> pb.Item:
    """Write an item; ``Invalid BAD_SAMPLE`` as ``sample_message``."""
    return pb.Item(sample=sample_message(item.sample), image=item.image)


def item_of(message: pb.Item) -> Item:
    """Read an item; ``Invalid`` as ``sample_of``."""
    return Item(sample_of(message.sample), message.image)

"""Plan a pool: which faces to ask for, exactly balanced, in an order whose prefixes are units."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mien.core.digest import seed_of
from mien.core.errors import Invalid, invalid_fields
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, SourceFace

_NAMED_CELLS = 5  # of an unbalanced pool in the error


def plan_requests(
    *,
    pool: str,
    pool_seed: int,
    expressions: Sequence[Expression],
    identities: int | None = None,
    first: int = 0,
    sources: Sequence[SourceFace] | None = None,
    units: int = 1,
    images_per_cell: int = 1,
    intensity: tuple[float, float] = (0.6, 1.0),
) -> Iterator[FaceRequest]:
    """Plan the faces of a pool: every identity shows every expression equally often.

    Identities come one after the other, each with all its faces. Invented ones are numbered; a
    longer pool begins with the shorter one. From photos, a unit is one variation of every source
    subject: all subjects once, in a seeded order, then all again, so that unit k is a prefix.

    Args:
        pool: name of the pool; request ids are ``<pool>/<identity>/<expression>-<n>``.
        pool_seed: of identities, variations and order.
        expressions: the cells of an identity.
        identities: how many to invent; exclusive with ``sources``.
        first: number of the first of them: a part of a longer pool.
        sources: the photos to start from; a subject with several takes turns with them.
        units: variations of every source subject; invented pools give ``identities`` instead.
        images_per_cell: faces per identity and expression.
        intensity: each face's is drawn from this range, in [0, 1].

    Raises:
        Invalid: ``POOL_PLAN`` naming each argument at fault.
    """
    _check(expressions, identities, sources, units, images_per_cell, intensity)
    if sources is None:
        starts: Iterable[tuple[str, SourceFace | None]] = (
            (f"{number:06d}", None) for number in range(first, first + (identities or 0))
        )
    else:
        starts = _rounds(sources, units, pool_seed)
    return (
        _request(pool, pool_seed, name, source, expression, variation, intensity)
        for name, source in starts
        for expression in expressions
        for variation in range(images_per_cell)
    )


def check_balance(
    faces: Iterable[tuple[str, Expression | None]],
    *,
    expressions: Sequence[Expression],
    images_per_cell: int = 1,
) -> int:
    """Check that every identity shows every expression equally often; return the identities.

    Args:
        faces: identity and expression of each face of a finished pool.
        expressions: the cells an identity must have, and no others.
        images_per_cell: faces in each.

    Raises:
        Invalid: ``POOL_UNBALANCED`` naming the first cells at fault; ``POOL_EMPTY``.
    """
    cells = Counter(faces)
    names = sorted({identity for identity, _ in cells})
    if not names:
        raise Invalid("POOL_EMPTY", "the pool holds no face")
    wanted: dict[tuple[str, Expression | None], int] = {
        (name, e): images_per_cell for name in names for e in expressions
    }
    wrong = [
        f"{name} × {expression or 'no expression'}: {cells.get((name, expression), 0)} "
        f"instead of {wanted.get((name, expression), 0)}"
        for name, expression in sorted(cells.keys() | wanted.keys(), key=str)
        if cells.get((name, expression), 0) != wanted.get((name, expression), 0)
    ]
    if wrong:
        more = f" and {len(wrong) - _NAMED_CELLS} more" if len(wrong) > _NAMED_CELLS else ""
        raise Invalid(
            "POOL_UNBALANCED",
            f"the pool is not balanced over identity × expression: "
            f"{'; '.join(wrong[:_NAMED_CELLS])}{more}",
            hint="synthesise the missing faces again; a pool is never cut by hand",
        )
    return len(names)


def _check(
    expressions: Sequence[Expression],
    identities: int | None,
    sources: Sequence[SourceFace] | None,
    units: int,
    images_per_cell: int,
    intensity: tuple[float, float],
) -> None:
    wrong: dict[str, str] = {}
    if not expressions or len(set(expressions)) != len(expressions):
        wrong["expressions"] = "is empty or names one twice"
    if (identities is None) == (sources is None):
        wrong["identities"] = "give either a number of identities or sources"
    elif identities is not None and identities < 1:
        wrong["identities"] = f"{identities} is below 1"
    if sources is not None and not sources:
        wrong["sources"] = "there is no photo to start from"
    if units < 1:
        wrong["units"] = f"{units} is below 1"
    elif sources is None and units > 1:
        wrong["units"] = "an invented pool is sized by its identities"
    if images_per_cell < 1:
        wrong["images_per_cell"] = f"{images_per_cell} is below 1"
    if not 0.0 <= intensity[0] <= intensity[1] <= 1.0:
        wrong["intensity"] = f"{intensity} is no range within [0, 1]"
    if wrong:
        raise invalid_fields("POOL_PLAN", "the pool cannot be planned", wrong)


def _rounds(
    sources: Sequence[SourceFace], units: int, seed: int
) -> Iterator[tuple[str, SourceFace]]:
    """Yield every subject once per unit, in one seeded order, with its photos in turn."""
    photos: dict[str, list[SourceFace]] = defaultdict(list)
    for source in sorted(sources, key=lambda s: s.id):
        photos[source.subject or source.id].append(source)
    subjects = sorted(photos)
    order = np.random.default_rng(seed_of("photo order", seed)).permutation(len(subjects))
    for unit in range(units):
        for index in order:
            own = photos[subjects[index]]
            source = own[unit % len(own)]
            yield f"{source.id}@{unit}", source


def _request(
    pool: str,
    seed: int,
    identity: str,
    source: SourceFace | None,
    expression: Expression,
    variation: int,
    intensity: tuple[float, float],
) -> FaceRequest:
    drawn = np.random.default_rng(seed_of("intensity", seed, identity, expression, variation))
    return FaceRequest(
        id=f"{pool}/{identity}/{expression}-{variation}",
        seed=seed,
        identity=identity,
        expression=expression,
        intensity=float(drawn.uniform(*intensity)),
        variation=variation,
        source=source,
    )

"""Contact sheets for the report: the same few people of every set, in every expression."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from mien.core.arrays import UInt8
from mien.core.digest import seed_of
from mien.core.expression import Expression
from mien.core.sample import Sample
from mien.evaluation.report_data import Sheet
from mien.evaluation.sheets import contact_sheet
from mien.imaging.decode import STORED, decode
from mien.registry.read import Version
from mien.stages.context import Context

CELL_PX = 96


def sheets(context: Context) -> tuple[Sheet, ...]:
    """Draw one sheet a set, as the network sees the faces: after preprocessing."""
    names = list(context.params.preprocess.sets)
    return tuple(set_sheet(context, name, context.prepared(name)) for name in names)


def set_sheet(context: Context, name: str, version: Version) -> Sheet:
    """Draw the sheet of one set."""
    rows = _chosen(version, context)
    ids = {s.id for row in rows for s in row.values()}
    images = {
        i.sample.id: decode(i.image, name=i.sample.id, limits=STORED) for i in version.items(ids)
    }
    classes = context.params.classes
    faces: list[list[UInt8 | None]] = [
        [images[row[e].id] if e in row else None for e in classes] for row in rows
    ]
    synthetic = any(s.origin == "synthetic" for row in rows for s in row.values())
    kind = "Synthetic" if synthetic else "Real"
    if any(n.startswith("no person") for n in _consents(version)) and not synthetic:
        kind = "Rendered, standing in for real"
    png = contact_sheet(faces, columns=[str(e) for e in classes], cell_px=CELL_PX)
    return Sheet(
        title=f"{kind} faces: {name}",
        png=png,
        alt=f"{len(rows)} people of {name}, one a row, showing {', '.join(classes)}",
        synthetic=synthetic,
        caption=f"{version.info.rows} faces, version {version.info.digest[:12]}",
    )


def _consents(version: Version) -> list[str]:
    return [licence.consent for licence in version.info.licences.values()]


def _chosen(version: Version, context: Context) -> list[dict[Expression, Sample]]:
    """Choose people by a fixed draw, those with most expressions first."""
    people: dict[str, dict[Expression, Sample]] = defaultdict(dict)
    for sample in version.manifest:
        if sample.expression in context.params.classes and not sample.failure:
            who = sample.identity or sample.subject or sample.id
            people[who].setdefault(sample.expression, sample)
    names = sorted(people)
    order = np.random.default_rng(seed_of("sheet", version.info.name)).permutation(len(names))
    drawn = sorted((names[i] for i in order), key=lambda n: -len(people[n]))
    return [people[n] for n in drawn[: context.params.report.sheet_identities]]

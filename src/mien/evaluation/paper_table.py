"""Our figures beside the published ones, arm by arm.

Source: "How far can generated data impact neural networks' performance?", VISAPP 2023, accuracy
in percent. Its databases are RaFD + Oulu-CASIA (own test) and MMI, CK+ (blind). Its own test of
the augmented arms contains synthetic faces, so it compares with our *mixed* test; on ours, which
holds real faces only, it never reported. One run an arm, no interval; the ratio was picked on
the test database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.core.split import Protocol
from mien.evaluation.curve import CurvePoint

SOURCE = (
    "“How far can generated data impact neural networks’ performance?”, VISAPP 2023; "
    "RaFD + Oulu-CASIA, 144 subjects, six expressions, 64×64 gray"
)


@dataclass(frozen=True, slots=True)
class Published:
    """One row of the paper's table; percent, None where it gives none.

    Attributes:
        ratio: units added to the real faces; None = synthetic faces only.
        train: training accuracy.
        own_test: own test; with synthetic faces in it wherever there are any in training.
        mmi: blind database MMI.
    """

    ratio: int | None
    train: float
    own_test: float
    mmi: float | None


PUBLISHED: tuple[Published, ...] = (
    Published(0, 84.5, 69.6, 45.0),
    Published(None, 99.84, 97.6, 47.0),
    Published(1, 91.0, 85.3, None),
    Published(2, 93.8, 89.0, None),
    Published(3, 94.8, 92.7, None),
    Published(4, 95.8, 92.5, None),
    Published(5, 97.6, 94.3, 58.3),
    Published(6, 97.8, 94.0, None),
    Published(10, 97.9, 95.1, None),
    Published(15, 98.9, 95.5, None),
    Published(20, 98.9, 97.0, None),
)

PUBLISHED_CK_PLUS: tuple[tuple[str, float], ...] = (
    ("this paper, real + 5", 87.49),
    ("Zavarez", 88.58),
    ("Porcu", 83.30),
    ("Lekdioui", 78.85),
    ("Hasani", 73.91),
    ("Mollahosseini", 64.20),
    ("da Silva", 57.6),
    ("Gu", 54.05),
)


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One arm, ours and theirs.

    Attributes:
        arm: for people: ``real``, ``real + 5 units``, ``synthetic only``.
        own: ours on real faces of the own test, or None.
        mixed: ours on the mixed test, or None.
        blind: ours on each blind database, in order; None where the arm was not judged.
        published: the paper's row, or None where it has no such arm.
    """

    arm: str
    own: CurvePoint | None
    mixed: CurvePoint | None
    blind: tuple[CurvePoint | None, ...]
    published: Published | None


def paper_rows(
    points: Sequence[CurvePoint], blind: Sequence[str], *, protocol: Protocol = "steps"
) -> tuple[PaperRow, ...]:
    """Line our arms up with the published ones; rows that only one side has are kept.

    Args:
        points: all points of the sweep; where several pools have a ratio, the first pool's.
        blind: names of the blind databases.
        protocol: whose figures are ours.
    """
    ours: dict[tuple[int | None, str], CurvePoint] = {}
    for point in sorted(points, key=lambda p: p.arm):
        arm = point.arm
        if point.protocol != protocol or arm.base != "geometric":
            continue
        if arm.kind in ("ratio", "synthetic"):
            ratio = arm.ratio if arm.kind == "ratio" else None
            ours.setdefault((ratio, point.role), point)
    theirs = {row.ratio: row for row in PUBLISHED}
    ratios = sorted({r for r, _ in ours} | set(theirs), key=lambda r: (r != 0, r is not None, r))
    return tuple(
        PaperRow(
            arm=_title(ratio),
            own=ours.get((ratio, "test")),
            mixed=ours.get((ratio, "mixed_test")),
            blind=tuple(ours.get((ratio, f"blind:{name}")) for name in blind),
            published=theirs.get(ratio),
        )
        for ratio in ratios
    )


def _title(ratio: int | None) -> str:
    if ratio is None:
        return "synthetic only"
    return f"real + {ratio} unit{'s' if ratio > 1 else ''}" if ratio else "real"


def paper_markdown(rows: Sequence[PaperRow], blind: Sequence[str]) -> str:
    """Write the table for a README; percent, our intervals in brackets."""
    head = ["arm", "ours, own test (real faces)", "ours, mixed test"]
    head += [f"ours, {name} (blind)" for name in blind]
    head += ["published, own test (mixed)", "published, MMI (blind)"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in rows:
        cells = [row.arm, *(_ours(p) for p in (row.own, row.mixed, *row.blind))]
        theirs = row.published
        cells += [_number(theirs.own_test if theirs else None)]
        cells += [_number(theirs.mmi if theirs else None)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Published: {SOURCE}."]) + "\n"


def _ours(point: CurvePoint | None) -> str:
    if point is None:
        return "–"
    return f"{100 * point.mean:.1f} [{100 * point.low:.1f}, {100 * point.high:.1f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"

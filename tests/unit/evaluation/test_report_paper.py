"""Our arms lined up with the published ones."""

from __future__ import annotations

from mien.core.split import Arm, Protocol
from mien.evaluation.curve import CurvePoint
from mien.evaluation.paper_table import PUBLISHED, PUBLISHED_CK_PLUS, paper_markdown, paper_rows


def point(arm: Arm, role: str, mean: float, protocol: Protocol = "steps") -> CurvePoint:
    return CurvePoint(arm, role, protocol, mean, mean - 0.03, mean + 0.03, 3, 25)


def mean(point: CurvePoint | None) -> float:
    assert point is not None
    return point.mean


OURS = [
    point(Arm(), "test", 0.70),
    point(Arm(base="plain"), "test", 0.11),
    point(Arm(), "blind:mmi", 0.45),
    point(Arm("ratio", 5, pool="invented"), "test", 0.78),
    point(Arm("ratio", 5, pool="invented"), "test", 0.12, "paper"),
    point(Arm("ratio", 5, pool="invented"), "mixed_test", 0.94),
    point(Arm("ratio", 7, pool="invented"), "test", 0.79),
    point(Arm("synthetic", 5, pool="invented"), "test", 0.61),
    point(Arm("shuffled", 5, pool="invented"), "test", 0.13),
]


def test_the_published_rows_are_those_of_the_paper() -> None:
    """Eleven arms; the figures that the argument rests on."""
    by_ratio = {row.ratio: row for row in PUBLISHED}
    assert list(by_ratio) == [0, None, 1, 2, 3, 4, 5, 6, 10, 15, 20]
    assert (by_ratio[0].train, by_ratio[0].own_test, by_ratio[0].mmi) == (84.5, 69.6, 45.0)
    assert (by_ratio[5].own_test, by_ratio[5].mmi) == (94.3, 58.3)
    assert by_ratio[None].mmi == 47.0
    assert dict(PUBLISHED_CK_PLUS)["Zavarez"] == 88.58


def test_arms_meet_by_ratio_and_none_is_lost() -> None:
    """Ours and theirs stand in one row; what only one side has is kept."""
    rows = {row.arm: row for row in paper_rows(OURS, ["mmi"])}
    assert list(rows)[:3] == ["real", "synthetic only", "real + 1 unit"]
    assert mean(rows["real"].own) == 0.70
    assert mean(rows["real"].blind[0]) == 0.45
    assert mean(rows["real + 5 units"].own) == 0.78
    assert mean(rows["real + 5 units"].mixed) == 0.94
    assert rows["real + 5 units"].blind == (None,)
    assert mean(rows["synthetic only"].own) == 0.61
    assert rows["real + 7 units"].published is None
    assert rows["real + 20 units"].own is None


def test_controls_and_other_augmentation_stay_out() -> None:
    """Neither permuted labels nor the plain baseline nor the other protocol is shown as ours."""
    means = {
        p.mean
        for row in paper_rows(OURS, ["mmi"])
        for p in (row.own, row.mixed, *row.blind)
        if p is not None
    }
    assert means == {0.70, 0.45, 0.78, 0.94, 0.79, 0.61}


def test_markdown_has_one_cell_a_column() -> None:
    """Every row has as many cells as the head; intervals and the source are there."""
    text = paper_markdown(paper_rows(OURS, ["mmi"]), ["mmi"])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "| 78.0 [75.0, 81.0] |" in text
    assert "58.3" in text
    assert "VISAPP 2023" in text

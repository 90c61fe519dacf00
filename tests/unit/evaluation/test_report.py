"""The page: answers first, needs nothing from outside, harmless whatever it is given."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mien.core.errors import Invalid
from mien.core.manifest import Licence
from mien.evaluation.report import render_report
from mien.evaluation.report_data import Note, ReportData, Sheet, UsedVersion
from mien.evaluation.report_notes import headline, notes
from mien.evaluation.report_view import (
    comparison_rows,
    cost_rows,
    count,
    duration,
    p_value,
    percent,
    when,
)
from tests.unit.evaluation.report_example import CLASSES, example, without_subjects

VOID = {"meta", "wbr", "link", "br", "img", "hr", "input", "path", "rect", "circle", "use"}


class Page(HTMLParser):
    """Check nesting, and gather what the tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def data() -> ReportData:
    return example()


@pytest.fixture(scope="module")
def html(data) -> str:
    return render_report(data)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_every_section_is_there_and_the_verdict_is_first(page, data) -> None:
    """Verdict, question, curve … lineage, in this order; every contents link has its target."""
    sections = [attrs.get("id") for attrs in page.all("section")]
    assert sections == [
        "verdict",
        "asked",
        "curve",
        "comparisons",
        "confusion",
        "classes",
        "slices",
        "faces",
        "calibration",
        "cost",
        "published",
        "data",
        "lineage",
    ]
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in sections}
    assert data.decision.sentence in page.words


def test_the_page_needs_nothing_from_outside(html, page) -> None:
    """No script, no link, no address; pictures are data; the policy forbids everything else."""
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:60])
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    policy = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])


def test_the_page_can_be_read_without_eyes(page) -> None:
    """Language, alternative texts, named pictures, scoped headers, reachable scroll boxes."""
    assert page.all("html")[0]["lang"] == "en"
    assert all(attrs.get("alt") for attrs in page.all("img"))
    for attrs in page.all("svg"):
        assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
    assert all(attrs.get("scope") in ("col", "row", "colgroup") for attrs in page.all("th"))
    boxes = [d for d in page.all("div") if "scroll" in (d.get("class") or "").split()]
    assert len(boxes) == len(page.all("table"))
    assert all(d.get("tabindex") == "0" and d.get("aria-label") for d in boxes)
    assert len(page.all("h1")) == 1


def test_ids_are_unique(page) -> None:
    """Pictures that lie in one page share no id with each other or with the page."""
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_page_follows_light_dark_and_narrow(html) -> None:
    """Style for both colour schemes, for a phone, for print."""
    for rule in ("prefers-color-scheme: dark", "max-width: 640px", "@media print"):
        assert rule in html
    assert 'name="viewport"' in html


def test_the_page_stays_small(html) -> None:
    """A whole report with two sheets weighs less than a megabyte."""
    assert 50_000 < len(html.encode()) < 1_000_000


def test_the_figures_on_the_page_are_those_of_the_data(page, data) -> None:
    """Accuracy, interval, confusion counts, ECE, licence and digest appear as given."""
    point = next(p for p in data.curve if p.role == "test" and p.arm.name == "r0")
    assert f"{percent(point.mean)} {percent(point.low)}–{percent(point.high)}" in page.words
    figures = data.figures[0]
    assert str(figures.metrics.confusion[0][0]) in page.words
    assert percent(figures.metrics.ece) in page.words
    assert data.versions[0].digest[:12] in page.words
    assert "no person is shown" in page.words
    for name in CLASSES:
        assert str(name) in page.words


def test_synthetic_faces_are_marked(page) -> None:
    """The pool's sheet and version carry the word, the real ones do not."""
    badges = [a for a in page.all("span") if "badge" in (a.get("class") or "")]
    assert sum("synthetic" in (a["class"] or "") for a in badges) == 2
    assert sum("real" in (a["class"] or "") for a in badges) == 1


def test_none_helps() -> None:
    """No gain and many people: the page says to add nothing and rules the effect out."""
    data = example(0.0, subjects=160, seeds=4, luck=0.0)
    assert data.decision.verdict == "none"
    page = Page(render_report(data))
    assert "No ratio helps" in page.words
    assert "Add nothing" in page.words
    assert "ruled out" in page.words


def test_not_enough_data() -> None:
    """Few people and a small gain: the page says how many more are needed."""
    data = example(0.02, subjects=25)
    assert data.decision.verdict == "undecided"
    page = Page(render_report(data))
    assert re.search(r"Not enough data: about [\d,]+ more (subjects|seeds)", page.words)
    assert "Stay with r0" in page.words


def test_a_pipeline_fault_voids_the_verdict(data) -> None:
    """With a fault the headline is the fault, whatever the figures say."""
    broken = replace(data, decision=replace(data.decision, faults=("permuted labels helped",)))
    page = Page(render_report(broken))
    assert "Do not trust this run" in page.words
    assert "Adding 5 units helps" not in page.words.split("What to know")[0]
    assert "Pipeline fault: permuted labels helped." in page.words


def test_seeds_can_be_what_is_missing(data) -> None:
    """The headline names seeds, both, or says that training is too unsteady to tell."""

    def words(subjects: int | None, seeds: int | None) -> str:
        decision = replace(
            data.decision, verdict="undecided", more_subjects=subjects, more_seeds=seeds
        )
        return headline(decision).words

    assert words(1234, 0) == "Not enough data: about 1\u202f300 more subjects"
    assert words(0, 4) == "Not enough data: about 4 more seeds"
    assert words(1, 1) == "Not enough data: about 1 more subject and about 1 more seed"
    assert words(0, 1000) == "Not enough data: training varies too much"


HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"


def test_hostile_words_are_harmless(data) -> None:
    """Markup and template code in any name comes out as text, and nowhere as markup."""
    decision = replace(
        data.decision,
        sentence=HOSTILE,
        candidate=HOSTILE,
        others=tuple(replace(c, arm=HOSTILE) for c in data.decision.others),
        blind=tuple(replace(c, set=HOSTILE) for c in data.decision.blind),
        faults=(HOSTILE,),
    )
    first = data.slices[0]
    hostile = replace(
        data,
        title=HOSTILE,
        experiment=HOSTILE,
        made=HOSTILE,
        code=HOSTILE,
        decision=decision,
        question=replace(data.question, database=HOSTILE, classes=(HOSTILE,), blind=(HOSTILE,)),
        figures=tuple(replace(f, arm=HOSTILE) for f in data.figures[:1]),
        slices=(
            replace(
                first,
                slices=tuple(replace(s, attribute=HOSTILE, value=HOSTILE) for s in first.slices),
            ),
        ),
        sheets=(replace(data.sheets[0], title=HOSTILE, alt=HOSTILE, caption=HOSTILE),),
        stages={HOSTILE: 1.0},
        versions=(
            UsedVersion(
                HOSTILE,
                HOSTILE,
                HOSTILE,
                1,
                1,
                1,
                0,
                {HOSTILE: Licence(HOSTILE, None, HOSTILE, HOSTILE)},
            ),
        ),
        params={HOSTILE: HOSTILE},
        lineage={HOSTILE: HOSTILE},
        notes=(Note("info", HOSTILE),),
    )
    page = Page(render_report(hostile))
    assert not page.all("script")
    assert len(page.all("img")) == 1
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert "{{ 7 * 7 }}" in page.words
    assert page.words.count("<script>alert('x')</script>") > 15


def test_the_least_report_can_be_made(data) -> None:
    """Without slices, sheets, costs, paper protocol … the sections go and the page stands."""
    least = ReportData(
        title=data.title,
        experiment=data.experiment,
        made=data.made,
        code=data.code,
        decision=replace(data.decision, blind=(), ceiling=None, equivalent_arms=()),
        question=replace(data.question, blind=(), pools=(), paper="", folds=5),
        curve=tuple(p for p in data.curve if p.role == "test" and p.protocol == "steps"),
        figures=(),
    )
    page = Page(render_report(least))
    sections = [attrs.get("id") for attrs in page.all("section")]
    assert sections == ["verdict", "asked", "curve", "comparisons", "data", "lineage"]
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in sections}


def test_two_pools_are_named_in_the_legend(data) -> None:
    """With several pools every line of the curve says whose it is; with one it need not."""
    photos = tuple(
        replace(p, arm=replace(p.arm, pool="photos"))
        for p in data.curve
        if p.arm.kind == "ratio" and p.arm.ratio
    )
    both = Page(render_report(replace(data, curve=(*data.curve, *photos)))).words
    assert "photos: equal images seen" in both
    assert "invented: equal epochs" in both
    assert "invented: equal epochs" not in Page(render_report(data)).words


def test_affect_is_shown_where_it_is_predicted(data) -> None:
    """CCC gets its own section with that head, and none without."""
    first = data.figures[0]
    metrics = replace(first.metrics, ccc_valence=0.512, ccc_arousal=0.345)
    page = Page(render_report(replace(data, figures=(replace(first, metrics=metrics),))))
    assert "affect" in [attrs.get("id") for attrs in page.all("section")]
    assert "0.512" in page.words
    assert "0.345" in page.words


def test_a_sheet_that_is_no_png_is_refused(data) -> None:
    """The page would show a broken picture; it is an error that names the sheet."""
    with pytest.raises(Invalid) as caught:
        render_report(replace(data, sheets=(Sheet("lab", b"GIF89a", "alt", synthetic=False),)))
    assert caught.value.reason == "SHEET_IMAGE"
    assert "lab" in caught.value.message


def said(data: ReportData) -> str:
    return " ".join(f"[{n.tone}] {n.text}" for n in notes(data))


def test_the_mixed_test_is_explained_where_it_occurs(data) -> None:
    """It holds synthetic faces and is said to."""
    assert "mixed test contains synthetic faces" in said(data)
    pure = replace(data, curve=tuple(p for p in data.curve if p.role != "mixed_test"))
    assert "mixed test" not in said(pure)


def test_the_shuffled_control_is_judged(data) -> None:
    """Not helpful: checked. Helpful: a fault. Absent: said."""
    assert re.search(
        r"\[good\] The control with permuted labels .* was not called helpful", said(data)
    )
    others = tuple(
        replace(c, verdict="helps") if c.arm.startswith("shuffled") else c
        for c in data.decision.others
    )
    helped = replace(data, decision=replace(data.decision, others=others))
    assert notes(helped)[0].tone == "bad"
    without = tuple(c for c in others if not c.arm.startswith("shuffled"))
    absent = replace(data, decision=replace(data.decision, others=without))
    assert "No control with permuted labels was run" in said(absent)


def test_caveats_follow_from_the_data(data) -> None:
    """By image, few seeds, near-duplicates, rights and a harmed blind set are each warned of."""
    assert "mixed, by image" in said(without_subjects(data))
    assert "nothing is claimed about new people" in said(without_subjects(data))
    few = replace(data, question=replace(data.question, seeds=2))
    assert "[warn] Only 2 seeds" in said(few)
    assert "[warn] 7 pairs" in said(replace(data, near_duplicates=7))
    assert "were not looked for" in said(replace(data, near_duplicates=None))
    private = {"rafd": Licence("research only", commercial=False), "x": Licence()}
    version = replace(data.versions[0], licences=private)
    assert "nor is what was made from it: rafd, x" in said(replace(data, versions=(version,)))
    harmed = tuple(
        replace(c, estimate=-0.05, low=-0.08, high=-0.02, p_adjusted=0.001)
        for c in data.decision.blind
    )
    assert "lowers accuracy: −5.0 points" in said(
        replace(data, decision=replace(data.decision, blind=harmed))
    )


def test_notes_come_gravest_first(data) -> None:
    """Faults, then cautions, notes and what was checked."""
    shaken = replace(data, near_duplicates=3, decision=replace(data.decision, faults=("a", "b")))
    order = ["bad", "warn", "info", "good"]
    tones = [order.index(n.tone) for n in notes(shaken)]
    assert tones == sorted(tones)
    assert {0, 1, 2, 3} == set(tones)


def test_strips_show_the_interval_on_a_common_scale(data) -> None:
    """Zero and effect stand at one place in all rows; what leaves the scale is cut and marked."""
    rows = comparison_rows(data.decision.others, data)
    assert len({(r.strip.zero, r.strip.effect) for r in rows}) == 1
    assert rows[0].strip.zero < rows[0].strip.effect
    for row in rows:
        assert 0 <= row.strip.low <= row.strip.low + row.strip.width <= 100.01
    cut = {r.found.arm: r.strip for r in rows}["shuffled5@invented"]
    assert (cut.cut, cut.estimate) == ("left", None)
    whole = comparison_rows(data.decision.others, data, wide=True)
    assert all(r.strip.cut == "" and r.strip.estimate is not None for r in whole)
    assert comparison_rows([], data) == ()


def test_a_point_is_priced_only_where_one_was_gained(data) -> None:
    """Time per point needs a gain and extra time; r0 and losing arms have none."""
    rows = {(r.cost.protocol, r.cost.arm): r for r in cost_rows(data)}
    gained = rows["steps", "r5@invented"]
    assert gained.gain is not None
    price = (gained.cost.synthesis_s) / (100 * gained.gain.estimate)
    assert gained.per_point.startswith(duration(price))
    assert rows["steps", "r0"].per_point == "–"
    assert rows["steps", "synthetic5@invented"].per_point == "no gain"
    assert rows["steps", "more_real5@more"].per_point == "collecting is not counted"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (percent(0.70349), "70.3"),
        (percent(float("nan")), "–"),
        (percent(None), "–"),
        (p_value(0.00001), "< 0.001"),
        (p_value(0.0419), "0.042"),
        (count(1234567), "1\u202f234\u202f567"),
        (duration(0.31), "0.3 s"),
        (duration(59.7), "1 min"),
        (duration(252), "4 min 12 s"),
        (duration(3 * 3600 + 300), "3 h 5 min"),
        (when("2026-11-21T09:30:12+00:00"), "2026-11-21 09:30 UTC"),
        (when("2026-11-21T09:30:12Z"), "2026-11-21 09:30 UTC"),
        (when("some day"), "some day"),
    ],
)
def test_numbers_are_written_for_people(made: str, expected: str) -> None:
    """Percent, p values, counts, times and dates."""
    assert made == expected

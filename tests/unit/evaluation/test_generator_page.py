"""A generator's page: verdict first, every figure shown beside its reference, nothing outside."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from mien.core.errors import Invalid
from mien.evaluation.generator_gates import GeneratorFigures, judge_generator
from mien.evaluation.generator_page import GeneratorPage, render_generator_page
from mien.evaluation.plots_generator import training_history_figure, training_panels
from mien.evaluation.report_data import Note, Sheet
from mien.evaluation.sheets import contact_sheet
from tests.unit.evaluation.generator_example import copied, example
from tests.unit.evaluation.test_report import Page

HISTORY = [
    {"kimg": float(k), "loss_d": 1.4 - k / 50, "loss_g": 0.8, "fidelity": k / 20, "nan": np.nan}
    for k in range(1, 11)
]


def page_of(figures: GeneratorFigures, **changes) -> GeneratorPage:
    faces = np.random.default_rng(0).integers(0, 256, (3, 6, 16, 16)).astype(np.uint8)
    png = contact_sheet([list(row) for row in faces], cell_px=32)
    found = GeneratorPage(
        title="acgan <modern>",
        engine="noise",
        digest="ab" * 32,
        made="2026-01-02T03:04:05+00:00",
        code="0.1.0",
        figures=figures,
        verdict=judge_generator(figures),
        judge="a small network trained on 200 other people",
        sheets=(Sheet("Generated", png, "three identities by six expressions", synthetic=True),),
        notes=(Note("info", "Nobody is in both sets."),),
        training=HISTORY,
        facts={"Real faces seen": "10 kimg"},
        params={"width": 32},
        lineage={"judge": "cd" * 32},
    )
    return replace(found, **changes)


@pytest.fixture(scope="module")
def good() -> GeneratorPage:
    return page_of(example())


@pytest.fixture(scope="module")
def html(good) -> str:
    return render_generator_page(good)


def test_verdict_comes_first_and_every_link_has_its_target(html):
    """All sections in order, the contents agree with them, tags are closed."""
    page = Page(html)
    sections = [attrs.get("id") for attrs in page.all("section")]
    assert sections == [
        "verdict",
        "faces",
        "fidelity",
        "variety",
        "identity",
        "usefulness",
        "copies",
        "training",
        "lineage",
    ]
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in sections}
    assert "Fit for use" in page.words


def test_figures_stand_beside_their_references(html, good):
    """Fidelity beside the judge, distance beside its floor, coverage beside real."""
    words, found = Page(html).words, good.figures
    for share in (found.fidelity.fidelity, found.fidelity.judge, found.usefulness.ratio):
        assert f"{100 * share.estimate:.1f}" in words
    assert f"{found.frechet[0].distance:.2f}" in words
    assert f"{found.frechet[0].floor:.2f}" in words
    assert f"{found.coverage.real.coverage:.2f}" in words
    assert "fd/fer128" in words
    assert "FID" not in words


def test_the_page_needs_nothing_from_outside(html):
    """No script, no address, pictures as data, and names are text, not markup."""
    page = Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "acgan &lt;modern&gt;" in html
    for attrs in page.all("img"):
        assert attrs["src"].startswith("data:image/png;base64,")
        assert attrs["alt"]


def test_a_bad_generator_is_called_so_with_its_copies():
    """Unfit, with the failed gates and the copies listed."""
    page = Page(render_generator_page(page_of(example(right=0.5, copies=copied("near", 25)))))
    assert "Not fit for use" in page.words
    assert "Failed: label fidelity." in page.words
    assert "The first copies (20 of 25)" in page.words


def test_a_page_of_nothing_measured_says_so():
    """No figure, no sheet, no training: an open verdict and no empty section."""
    empty = page_of(GeneratorFigures(), sheets=(), training=(), facts={}, lineage={})
    page = Page(render_generator_page(empty))
    assert [a.get("id") for a in page.all("section")] == ["verdict", "lineage"]
    assert "Not decided" in page.words
    assert "Not measured: label fidelity" in page.words


def test_the_same_page_twice_is_the_same_text(good, html):
    """No clock and no chance in it."""
    assert render_generator_page(good) == html


def test_a_sheet_that_is_no_png_is_refused(good):
    """Any other bytes are refused, not embedded."""
    wrong = (Sheet("x", b"GIF89a", "x", synthetic=True),)
    with pytest.raises(Invalid) as caught:
        render_generator_page(replace(good, sheets=wrong))
    assert caught.value.reason == "SHEET_IMAGE"


def test_losses_share_a_panel_and_what_is_not_finite_is_left_out():
    """All losses in one panel, first; other figures one each; NaN drawn nowhere."""
    panels = training_panels(HISTORY)
    assert list(panels) == ["loss", "fidelity"]
    assert set(panels["loss"]) == {"d", "g"}
    assert panels["fidelity"]["fidelity"][0] == (1.0, 1 / 20)
    assert training_history_figure([]) is None
    assert training_history_figure([{"kimg": 1.0, "loss": float("nan")}]) is None

"""Pictures: valid files, right sizes, everything drawn that was given, nothing from outside."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mien.core.errors import Invalid
from mien.core.expression import EKMAN_SIX
from mien.core.scores import Predictions
from mien.core.split import Arm, Protocol
from mien.evaluation.calibration import reliability
from mien.evaluation.curve import CurvePoint, curve_points, curve_rows, role_title
from mien.evaluation.plots import (
    bars_figure,
    confusion_figure,
    confusion_png,
    reliability_figure,
    training_figure,
)
from mien.evaluation.plots_curve import curve_figure, saturation_figure
from mien.evaluation.plots_style import panels, to_page, to_png
from mien.evaluation.saturation import fit_saturation
from mien.evaluation.sheets import contact_sheet

SIX = [str(e) for e in EKMAN_SIX]
PROTOCOLS: tuple[Protocol, ...] = ("steps", "paper")


def points() -> list[CurvePoint]:
    found = []
    for role in ("test", "blind:mmi"):
        for protocol in PROTOCOLS:
            for ratio in (0, 1, 5, 20):
                arm = Arm("ratio", ratio, pool="invented" if ratio else "")
                found.append(CurvePoint(arm, role, protocol, 0.7, 0.66, 0.74, 3, 25, float(ratio)))
        others = (
            Arm(base="plain"),
            Arm("more_real", 5, pool="more"),
            Arm("shuffled", 5, pool="invented"),
            Arm("synthetic", 5, pool="invented"),
        )
        found += [CurvePoint(arm, role, "steps", 0.6, 0.5, 0.7, 3, 25) for arm in others]
    return found


def answers(subjects: int, right: float, seed: int, *, names: str = "set") -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, subjects * 4)
    called = np.where(rng.random(len(labels)) < right, labels, (labels + 1) % 6)
    none = np.zeros((len(labels), 0), np.float32)
    return Predictions(
        ids=[f"{names}/{i}" for i in range(len(labels))],
        subjects=[f"{names}:{i // 4}" for i in range(len(labels))],
        labels=labels,
        logits=np.eye(6, dtype=np.float32)[called],
        classes=EKMAN_SIX,
        affect=none,
        affect_true=none.copy(),
    )


def test_importing_the_plots_does_not_import_matplotlib() -> None:
    """Matplotlib is loaded by the first figure, not by the import."""
    code = (
        "import sys; import mien.evaluation.plots, mien.evaluation.plots_curve; "
        "import mien.evaluation.report; "
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'jinja2', 'PIL')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0


def test_the_curve_shows_every_kind_of_arm() -> None:
    """Both protocols, ceiling, controls and the plain baseline are all in the legend."""
    figure = curve_figure(points(), ["test", "blind:mmi"], chosen=5)
    words = {t.get_text() for legend in figure.legends for t in legend.get_texts()}
    assert words == {
        "equal images seen",
        "equal epochs",
        "more real faces (r5)",
        "synthetic faces only",
        "permuted labels",
        "r0 without augmentation",
    }
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Own test", "Blind: mmi"]
    ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert ticks == ["r0", "r1", "r5", "r20"]


def test_steps_is_solid_and_paper_dashed() -> None:
    """The protocol that decides is drawn as a solid line, the other dashed."""
    (axes,) = curve_figure(points(), ["test"]).axes
    # Containers are loosely typed, each holds its line first.
    drawn: list[Any] = list(axes.containers)
    styles = {container.get_label(): container.lines[0].get_linestyle() for container in drawn}
    assert styles["equal images seen"] == "-"
    assert styles["equal epochs"] == "--"


def test_two_pools_are_two_lines_with_names() -> None:
    """Pools share r0 and are told apart by name and colour."""
    both = points() + [
        replace(p, arm=replace(p.arm, pool="photos"), mean=0.72)
        for p in points()
        if p.arm.kind == "ratio" and p.arm.ratio
    ]
    (axes,) = curve_figure(both, ["test"]).axes
    names = {container.get_label() for container in axes.containers}
    assert {"invented: equal images seen", "photos: equal images seen"} <= names


def test_pngs_are_pictures_of_a_sensible_size() -> None:
    """Each picture opens, is wider than 400 px and lighter than 200 kB."""
    confusion = np.diag([9, 8, 7, 6, 5, 4]).tolist()
    labels = np.arange(60) % 6
    chances = np.full((60, 6), 0.1) + 0.4 * np.eye(6)[labels]
    history = {"train_loss": [(100, 1.0), (200, 0.5)], "accuracy": [(100, 0.4), (200, 0.6)]}
    table = np.random.default_rng(0).random((3, 2, 20))
    fitted = fit_saturation([0, 1, 5], table, draws=50)
    pictures = [
        to_png(curve_figure(points(), ["test"])),
        confusion_png(confusion, SIX, title="own test"),
        to_png(reliability_figure(reliability(chances, labels), reliability(chances, labels))),
        to_png(training_figure(history, best=200)),
        to_png(bars_figure({"sweep": 10.0, "report": 1.0}, unit="s", total=True)),
        to_png(saturation_figure(fitted, [(0, 0.5), (1, 0.5), (5, 0.5)])),
    ]
    for data in pictures:
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG"
        assert image.width > 400
        assert len(data) < 200_000


def test_the_same_figure_gives_the_same_bytes() -> None:
    """No date, no version, no random id: pictures can be compared and cached."""
    assert to_png(curve_figure(points(), ["test"])) == to_png(curve_figure(points(), ["test"]))
    matrix = np.eye(6, dtype=int).tolist()
    first, second = (to_page(confusion_figure(matrix, SIX), label="a") for _ in range(2))
    assert first == second


def test_an_empty_row_of_a_confusion_matrix_is_drawn() -> None:
    """A class without faces has no shares, and that is no error."""
    counts = np.diag([5, 5, 5, 5, 5, 0]).tolist()
    assert confusion_png(counts, SIX)


def test_empty_inputs_are_drawn_empty() -> None:
    """A run that was never validated and bins without faces give empty panels."""
    assert to_png(training_figure({}))
    nothing = reliability(np.zeros((0, 6)), np.zeros(0, dtype=np.int64))
    assert to_png(reliability_figure(nothing))
    assert to_png(bars_figure({}, unit="s"))


@pytest.fixture(scope="module")
def page() -> str:
    return to_page(curve_figure(points(), ["test"]), label='a "quoted" <label>')


def test_page_svg_is_well_formed_and_needs_nothing(page: str) -> None:
    """One svg element, XML that parses, no address, no metadata, all references inside."""
    root = ElementTree.fromstring(page)  # noqa: S314  our own
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'a "quoted" <label>'
    assert "http" not in page
    assert root.get("width") is None
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= ids
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids


def test_page_svg_takes_the_colours_of_the_page(page: str) -> None:
    """Ink, lines and series are CSS variables, with the printed colour as fallback."""
    for variable in ("--ink", "--muted", "--line", "--series-1", "--series-3"):
        assert f"var({variable}, #" in page


def test_two_figures_on_a_page_share_no_id(page: str) -> None:
    """Ids are prefixed by the picture's digest."""
    other = to_page(curve_figure(points(), ["blind:mmi"]), label="other")
    ids = [set(re.findall(r'\bid="([^"]+)"', each)) for each in (page, other)]
    assert ids[0].isdisjoint(ids[1])


def test_hostile_words_in_a_figure_stay_words() -> None:
    """Markup in a title is escaped in SVG; a dollar sign does not start mathematics."""
    title = '<script>alert("x")</script> costs $5 & $6'
    figure = bars_figure({"<b>stage</b>": 1.0}, unit="s", title=title)
    page = to_page(figure, label="label")
    assert "<script" not in page
    texts = [t.text for t in ElementTree.fromstring(page).iter("text")]  # noqa: S314
    assert title in texts
    assert "<b>stage</b>" in texts


def test_a_hostile_pool_name_does_not_break_the_curve() -> None:
    """Pool names with unmatched dollars and underscores are drawn as they are."""
    odd = [
        replace(p, arm=replace(p.arm, pool=f"{pool}$_{{"))
        for p in points()
        if p.arm.kind == "ratio" and p.arm.ratio
        for pool in ("a", "b")
    ]
    assert to_png(curve_figure(odd, ["test"]))


def alone(arm: Arm, role: str, said: list[Predictions]) -> CurvePoint:
    """The point of one arm on one set, with nothing beside it."""
    (point,) = curve_points({(arm, role, "steps"): said})
    return point


def test_curve_points_average_over_seeds_and_subjects() -> None:
    """The mean is over subjects; the interval holds it; counts are those of the input."""
    said = [answers(30, 0.7, seed) for seed in range(3)]
    point = alone(Arm(), "test", said)
    accuracies = [(p.logits.argmax(1) == p.labels).mean() for p in said]
    assert point.mean == pytest.approx(np.mean(accuracies))
    assert point.low < point.mean < point.high
    assert (point.seeds, point.subjects) == (3, 30)


def test_ratios_share_their_spread_and_lonely_arms_do_not() -> None:
    """Together the ratios get intervals; an arm of another kind is judged as alone."""
    said: dict[tuple[Arm, str, Protocol], list[Predictions]] = {
        (Arm("ratio", r, pool="p" if r else ""), "test", "steps"): [
            answers(40, 0.6 + 0.02 * r, 10 * r + s) for s in range(3)
        ]
        for r in (0, 1, 2)
    }
    lonely: tuple[Arm, str, Protocol] = (Arm("shuffled", 2, pool="p"), "test", "steps")
    said[lonely] = [answers(40, 0.3, 90 + s) for s in range(3)]
    found = {p.arm: p for p in curve_points(said, image_ratios={Arm(): 0.0})}
    assert len(found) == 4
    by_itself = alone(*lonely[:2], said[lonely])
    assert (found[lonely[0]].low, found[lonely[0]].high) == (by_itself.low, by_itself.high)
    assert found[Arm()].image_ratio == 0.0
    assert all(p.low < p.mean < p.high for p in found.values())


def test_seeds_judged_on_other_faces_still_make_a_point() -> None:
    """The mixed test draws other synthetic faces each seed; faces without subject count alone."""
    said = [answers(20, 0.7, 0, names="a"), answers(20, 0.7, 1, names="b")]
    assert alone(Arm(), "mixed_test", said).subjects == 40
    nobody = [replace(p, subjects=[""] * len(p.ids)) for p in said]
    assert alone(Arm(), "mixed_test", nobody).subjects == 160


def test_an_unlabelled_set_makes_no_point() -> None:
    """A set without any label is refused."""
    said = replace(answers(5, 1.0, 0), labels=np.full(20, -1))
    with pytest.raises(Invalid) as caught:
        alone(Arm(), "test", [said])
    assert caught.value.reason == "EMPTY_SET"


def test_curve_rows_are_flat_json_in_a_stable_order() -> None:
    """Rows name ratio, set, protocol, mean, low and high, whatever the order of the points."""
    rows = curve_rows(points())
    assert rows == curve_rows(reversed(points()))
    assert {"ratio", "set", "protocol", "mean", "low", "high"} <= set(rows[0])
    assert all(isinstance(v, str | int | float | None) for row in rows for v in row.values())


def test_roles_have_names_for_people() -> None:
    """The mixed test says what it holds; blind databases say that they are blind."""
    assert role_title("blind:mmi") == "Blind: mmi"
    assert "synthetic" in role_title("mixed_test")
    assert role_title("anything") == "anything"


def test_a_contact_sheet_has_the_size_of_its_table() -> None:
    """Cells of one size, gray stays gray, colour stays colour, missing faces leave a cell."""
    gray = np.full((64, 64), 200, np.uint8)
    colour = np.zeros((48, 32, 3), np.uint8)
    sheet = Image.open(io.BytesIO(contact_sheet([[gray, None], [gray]], cell_px=50, gap_px=2)))
    assert sheet.mode == "L"
    assert sheet.height == 2 + 2 * 52
    mixed = Image.open(io.BytesIO(contact_sheet([[gray, colour]], cell_px=50)))
    assert mixed.mode == "RGB"


def test_a_face_keeps_its_shape_and_place() -> None:
    """A wide picture is fitted, not stretched; the first column comes first."""
    wide = np.full((20, 40), 10, np.uint8)
    white = np.full((40, 40), 255, np.uint8)
    pixels = np.asarray(
        Image.open(io.BytesIO(contact_sheet([[wide, white]], cell_px=40, gap_px=0)))
    )
    cell = pixels[:40, :40]
    assert (cell[18:22] == 10).all()
    assert (cell[:8] == 238).all()
    assert (pixels[:40, 40:80] == 255).all()


def test_captions_make_room_for_themselves() -> None:
    """Headings and caption widen the sheet; a long heading is shortened, not spilled."""
    face = np.zeros((32, 32), np.uint8)
    plain = Image.open(io.BytesIO(contact_sheet([[face]], cell_px=40)))
    named = Image.open(
        io.BytesIO(
            contact_sheet([[face]], columns=["x" * 90], rows=["lab:001"], caption="c", cell_px=40)
        )
    )
    assert named.width > plain.width + 20
    assert named.height > plain.height + 20
    assert named.width < 200


@pytest.mark.parametrize(
    ("faces", "columns", "reason"),
    [
        ([], [], "EMPTY_SHEET"),
        ([[]], [], "EMPTY_SHEET"),
        ([[np.zeros((4, 4), np.uint8)]], ["a", "b"], "SHEET_HEADINGS"),
        ([[np.zeros((4, 4), np.float32)]], [], "SHEET_IMAGE"),
        ([[np.zeros((4, 4, 2), np.uint8)]], [], "SHEET_IMAGE"),
    ],
)
def test_sheets_refuse_what_they_cannot_show(faces, columns, reason) -> None:
    """No face, headings that do not fit, or no image: an error with a reason."""
    with pytest.raises(Invalid) as caught:
        contact_sheet(faces, columns=columns)
    assert caught.value.reason == reason


def test_panels_are_laid_out_in_reading_order() -> None:
    """Panels come row by row."""
    _, axes = panels(2, 2)
    assert len(axes) == 4

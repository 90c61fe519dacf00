"""What a report is made from: plain values that the ``report`` stage fills.

Nothing here reads a disk or draws; ``report.render_report`` turns one ``ReportData`` into a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mien.core.manifest import Licence
from mien.core.split import Part, Protocol
from mien.evaluation.calibration import ReliabilityBin
from mien.evaluation.curve import CurvePoint
from mien.evaluation.metrics import Metrics
from mien.evaluation.saturation import Saturation
from mien.evaluation.slices import Slice
from mien.evaluation.verdict import Decision

Tone = Literal["bad", "warn", "info", "good"]


@dataclass(frozen=True, slots=True)
class PoolUsed:
    """A pool of synthetic faces that ratios were drawn from.

    Attributes:
        name: of the set, ``invented``.
        engine: that made it.
        identities: ``invented`` or ``photos`` (of the training subjects).
        faces: in the pool.
    """

    name: str
    engine: str
    identities: str
    faces: int


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, in numbers.

    Attributes:
        database: that is trained on and tested.
        classes: expressions told apart, in order.
        subjects: part → people in it (faces, when ``by`` is ``sample``).
        images: part → usable labelled images in it.
        unit_identities: synthetic identities in one unit.
        unit_images: synthetic images in one unit.
        by: ``subject``, or ``sample`` for a database without subjects.
        ratios: units that were tried, ascending, without 0.
        seeds: models trained an arm (and fold).
        folds: cross-validation folds or repeated splits; 1 = neither.
        classifier: network, for people: ``small (412,006 parameters)``.
        steps: the schedule of ``steps``, for people: ``10,000 images seen``.
        paper: the schedule of ``paper``, for people; "" where it was not run.
        select_on: the set that chose the candidate: ``validation`` or a development database.
        blind: names of the blind databases.
        pools: synthetic pools.
    """

    database: str
    classes: tuple[str, ...]
    subjects: Mapping[Part, int]
    images: Mapping[Part, int]
    unit_identities: int
    unit_images: int
    by: Literal["subject", "sample"]
    ratios: tuple[int, ...]
    seeds: int
    folds: int
    classifier: str
    steps: str
    paper: str
    select_on: str
    blind: tuple[str, ...]
    pools: tuple[PoolUsed, ...]


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One arm under ``steps`` on one set, over its seeds: ``metrics.mean_metrics``.

    Attributes:
        arm: its name.
        role: the set: ``test``, ``blind:<name>``, ``mixed_test`` …
        trials: trained models behind it; ``metrics.confusion`` adds their counts up.
        metrics: scores averaged over them.
        before: reliability without temperature (``pooled_reliability``), or ().
        after: reliability with each trial's temperature, or ().
    """

    arm: str
    role: str
    trials: int
    metrics: Metrics
    before: tuple[ReliabilityBin, ...] = ()
    after: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True, slots=True)
class ArmSlices:
    """Slices of one arm on one set: ``slices.slice_accuracy``."""

    arm: str
    role: str
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet: ``sheets.contact_sheet``.

    Attributes:
        title: ``Real faces: lab``.
        png: the picture.
        alt: what it shows, for people who cannot see it.
        synthetic: the faces are synthetic and the page says so.
        caption: below the picture, or "".
        width_px: it is shown at most so wide; None = as wide as it is.
    """

    title: str
    png: bytes
    alt: str
    synthetic: bool
    caption: str = ""
    width_px: int | None = None


@dataclass(frozen=True, slots=True)
class ArmCost:
    """What an arm took.

    Attributes:
        arm: its name.
        protocol: ``steps`` or ``paper``.
        trials: how many.
        images: rows it trained on.
        images_seen: by one trial, on average.
        trial_s: seconds of one trial, on average.
        synthesis_s: seconds to make the synthetic faces of one trial.
    """

    arm: str
    protocol: Protocol
    trials: int
    images: int
    images_seen: float
    trial_s: float
    synthesis_s: float = 0.0


@dataclass(frozen=True, slots=True)
class UsedVersion:
    """A dataset version that the answer rests on.

    Attributes:
        role: what it was used for: ``trained on``, ``blind``, ``pool`` …
        name: of the version.
        digest: of its content.
        rows: samples in it.
        subjects: distinct subjects; 0 where there are none.
        synthetic: how many of the rows are synthetic.
        unusable: rows that preprocessing could not use.
        licences: source → rights.
    """

    role: str
    name: str
    digest: str
    rows: int
    subjects: int
    synthetic: int
    unusable: int
    licences: Mapping[str, Licence]


@dataclass(frozen=True, slots=True)
class Note:
    """Something the reader has to know.

    Attributes:
        tone: ``bad`` (the verdict is void), ``warn``, ``info`` or ``good``.
        text: one or two sentences.
    """

    tone: Tone
    text: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page.

    Attributes:
        title: of the page.
        experiment: name of the question in the tracker.
        made: when, ISO 8601.
        code: version of this package.
        decision: the verdict, of protocol ``steps``.
        paper: what protocol ``paper`` would have said, or None.
        question: what was asked.
        curve: points of all arms, sets and protocols.
        figures: of r0 and of the candidate (further arms are allowed), on every set.
        slices: of the same arms.
        saturation: pool → fitted curve on the own test under ``steps``; may be empty.
        sheets: of real and synthetic faces.
        costs: of every arm.
        stages: stage → seconds, in order.
        versions: every dataset version used.
        params: the resolved parameters, plain values.
        lineage: artefact → digest.
        near_duplicates: pairs found across the sets that must be apart; None = not looked for.
        published: also show the published numbers of the paper.
        notes: further remarks; those that follow from the other fields are made by the page.
    """

    title: str
    experiment: str
    made: str
    code: str
    decision: Decision
    question: Question
    curve: tuple[CurvePoint, ...]
    figures: tuple[ArmFigures, ...]
    paper: Decision | None = None
    slices: tuple[ArmSlices, ...] = ()
    saturation: Mapping[str, Saturation] = field(default_factory=dict)
    sheets: tuple[Sheet, ...] = ()
    costs: tuple[ArmCost, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    versions: tuple[UsedVersion, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    near_duplicates: int | None = None
    published: bool = False
    notes: tuple[Note, ...] = ()

"""A whole made-up sweep, judged and decided by the real code, for the report's tests and looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mien.core.expression import EKMAN_SIX
from mien.core.manifest import Licence
from mien.core.sample import Sample
from mien.core.scores import Predictions
from mien.core.split import Arm, Part, Protocol
from mien.evaluation.calibration import fit_temperature, pooled_reliability
from mien.evaluation.curve import curve_points
from mien.evaluation.decision import DecideConfig, decide
from mien.evaluation.evidence import Evidence, judge, score_set
from mien.evaluation.metrics import evaluate, mean_metrics
from mien.evaluation.report_data import (
    ArmCost,
    ArmFigures,
    ArmSlices,
    PoolUsed,
    Question,
    ReportData,
    Sheet,
    UsedVersion,
)
from mien.evaluation.saturation import fit_saturation
from mien.evaluation.sheets import contact_sheet
from mien.evaluation.slices import slice_accuracy

CLASSES = EKMAN_SIX
RATIOS = (1, 2, 5)
PROTOCOLS: tuple[Protocol, ...] = ("steps", "paper")
Said = dict[tuple[Arm, str, Protocol], list[Predictions]]
ROLES = ("validation", "test", "blind:demo_blind")
BASE = {"validation": 0.72, "test": 0.70, "blind:demo_blind": 0.48, "mixed_test": 0.70}
PRIVATE = Licence("CC-BY-4.0", commercial=True, consent="signed, research and illustration")
RESEARCH = Licence("research only", commercial=False, consent="signed, research")
NOBODY = Licence("Apache-2.0", commercial=True, consent="no person is shown")


def samples(role: str, subjects: int) -> dict[str, Sample]:
    """One image a person and expression, with attributes."""
    found = {}
    for person in range(subjects):
        shared = {
            "skin_tone": ("light", "medium", "dark")[person % 3],
            "glasses": "yes" if person % 12 == 0 else "no",
        }
        for expression in CLASSES:
            name = f"{role}/{person:03d}-{expression}"
            found[name] = Sample(
                id=name,
                source=role,
                subject=f"{role}:{person:03d}",
                expression=expression,
                attributes=shared,
            )
    return found


def predict(role: str, subjects: int, skill: float, seed: int, arm: int) -> Predictions:
    """Answers of a classifier that is right with about the given chance."""
    rows = list(samples(role, subjects).values())
    people = np.random.default_rng(len(role))
    easy = np.repeat(people.normal(0, 0.5, subjects), len(CLASSES))
    rng = np.random.default_rng([seed, arm, len(role)])
    labels = np.array([CLASSES.index(s.expression) for s in rows], dtype=np.int64)
    logits = rng.normal(0, 1, (len(rows), len(CLASSES)))
    logits[:, 2] += 0.35  # everything looks a little like fear
    logits[np.arange(len(rows)), labels] += 6.2 * (skill - 0.31) + easy
    return Predictions(
        ids=[s.id for s in rows],
        subjects=[s.subject or "" for s in rows],
        labels=labels,
        logits=(2.2 * logits).astype(np.float32),
        classes=CLASSES,
        affect=np.zeros((len(rows), 0), np.float32),
        affect_true=np.zeros((len(rows), 0), np.float32),
    )


def _arms(protocol: Protocol) -> dict[Arm, float]:
    """Arm → gain relative to a full gain of 1."""
    arms = {Arm(): 0.0}
    arms |= {Arm("ratio", r, pool="invented"): 1 - np.exp(-r / 1.5) for r in RATIOS}
    if protocol == "steps":
        arms |= {
            Arm(base="plain"): -0.5,
            Arm("synthetic", 5, pool="invented"): -1.2,
            Arm("more_real", 5, pool="more"): 1.8,
            Arm("shuffled", 5, pool="invented"): -2.5,
        }
    return arms


def example(
    gain: float = 0.08, *, subjects: int = 100, seeds: int = 3, luck: float = 0.004
) -> ReportData:
    """Make a report of a sweep whose ratios truly gain ``gain``; controls keep fixed effects."""
    roles = {**dict.fromkeys(ROLES, subjects), "blind:demo_blind": max(subjects * 6 // 10, 12)}
    said: Said = {}
    for protocol in PROTOCOLS:
        for index, (arm, share) in enumerate(_arms(protocol).items()):
            full = gain if arm.kind == "ratio" and arm.ratio else 0.08
            for role, people in roles.items():
                said[arm, role, protocol] = [
                    predict(
                        role,
                        people,
                        BASE[role]
                        + share * full
                        + np.random.default_rng([index, seed]).normal(0, luck),
                        seed,
                        index + (100 if protocol == "paper" else 0),
                    )
                    for seed in range(seeds)
                ]
            if arm.kind == "ratio" and arm.ratio:
                said[arm, "mixed_test", protocol] = [
                    predict("mixed_test", subjects, 0.76 + 0.05 * share, seed, index)
                    for seed in range(seeds)
                ]
    decided = {p: decide(_evidence(said, p), DecideConfig()) for p in PROTOCOLS}
    evidence = _evidence(said, "steps")
    decision = decided["steps"]
    curve = [Arm(), *(Arm("ratio", r, pool="invented") for r in RATIOS)]
    shown = [a for a, *_ in said if a.name in ("r0", decision.candidate)]
    return ReportData(
        title="How much synthetic data does the demo need?",
        experiment="demo",
        made="2026-11-21T09:30:00Z",
        code="0.1.0",
        decision=decision,
        paper=decided["paper"],
        question=_question(subjects, seeds),
        curve=tuple(curve_points(said, image_ratios={a: float(a.ratio) for a in curve})),
        figures=tuple(
            _figures(arm, role, said)
            for role in (*ROLES[1:], "mixed_test")
            for arm in dict.fromkeys(shown)
            if (arm, role, "steps") in said
        ),
        slices=tuple(
            ArmSlices(
                arm.name,
                "test",
                slice_accuracy(
                    [(s, 0, p) for s, p in enumerate(said[arm, "test", "steps"])],
                    samples("test", subjects),
                    ["skin_tone", "glasses"],
                ),
            )
            for arm in dict.fromkeys(shown)
        ),
        saturation={
            "invented": fit_saturation([a.ratio for a in curve], evidence.own.stack(curve))
        },
        sheets=_sheets(),
        costs=tuple(_cost(arm, p) for p in PROTOCOLS for arm in _arms(p)),
        stages={
            "ingest": 14.2,
            "synthesise": 41.0,
            "preprocess": 8.1,
            "sweep": 163.5,
            "evaluate": 4.4,
            "decide": 0.9,
            "report": 2.6,
        },
        versions=_versions(subjects),
        params={"experiment": "demo", "sweep": {"ratios": list(RATIOS), "seeds": seeds}},
        lineage={"set:lab": "5f" * 32, "set:blind": "a1" * 32, "code": "0c" * 32},
        near_duplicates=0,
        published=True,
    )


def _evidence(said: Said, protocol: Protocol) -> Evidence:
    def scores(role: str, name: str):
        return score_set(
            name,
            [
                judge(arm, seed, 0, p)
                for (arm, r, q), each in said.items()
                if (r, q) == (role, protocol)
                for seed, p in enumerate(each)
            ],
        )

    return Evidence(
        protocol=protocol,
        selection=scores("validation", "validation"),
        own=scores("test", "test"),
        blind={"demo_blind": scores("blind:demo_blind", "blind:demo_blind")},
    )


def _question(subjects: int, seeds: int) -> Question:
    parts: dict[Part, int] = {"train": 40, "validation": subjects, "test": subjects, "unused": 0}
    return Question(
        database="demo_lab",
        classes=tuple(str(c) for c in CLASSES),
        subjects=parts,
        images={part: 6 * n for part, n in parts.items()},
        unit_identities=40,
        unit_images=240,
        by="subject",
        ratios=RATIOS,
        seeds=seeds,
        folds=1,
        classifier="the network small (412 006 parameters)",
        steps="10 000 images seen",
        paper="12 epochs, early stopping",
        select_on="validation",
        blind=("demo_blind",),
        pools=(PoolUsed("invented", "affect", "invented", 1440),),
    )


def _figures(arm: Arm, role: str, said: Said):
    trials = said[arm, role, "steps"]
    temperatures = [fit_temperature(p) for p in said[arm, "validation", "steps"]]
    judged = [evaluate(p, temperature=t) for p, t in zip(trials, temperatures, strict=True)]
    return ArmFigures(
        arm.name,
        role,
        len(trials),
        mean_metrics(judged),
        pooled_reliability(trials),
        pooled_reliability(trials, temperatures),
    )


def _cost(arm: Arm, protocol: Protocol) -> ArmCost:
    images = 240 * (1 + arm.ratio)
    return ArmCost(
        arm.name,
        protocol,
        trials=3,
        images=images,
        images_seen=10_000 if protocol == "steps" else 12 * images,
        trial_s=6.1 if protocol == "steps" else 0.0075 * images,
        synthesis_s=4.6 * arm.ratio if arm.pool == "invented" else 0.0,
    )


def _versions(subjects: int) -> tuple[UsedVersion, ...]:
    lab = {"demo_lab": NOBODY}
    return (
        UsedVersion("trained on, own test", "lab", "5f" * 32, 12 * subjects + 240, 240, 0, 3, lab),
        UsedVersion("blind", "blind", "a1" * 32, 360, 60, 0, 1, {"demo_blind": NOBODY}),
        UsedVersion("pool", "invented", "77" * 32, 1440, 240, 1440, 0, {"affect": NOBODY}),
    )


def draw_face(expression: str, person: int, *, size: int = 64) -> np.ndarray:
    """A face of a few strokes, (size, size) uint8."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(person)
    shade, wide = int(rng.integers(120, 215)), float(rng.uniform(0.3, 0.4))
    scale = 4
    side = size * scale
    image = Image.new("L", (side, side), int(rng.integers(30, 90)))
    pen = ImageDraw.Draw(image)
    pen.ellipse([side * (0.5 - wide), side * 0.06, side * (0.5 + wide), side * 0.96], fill=shade)
    brow = {"anger": 0.05, "sadness": -0.05, "fear": -0.04}.get(expression, 0.0)
    open_eyes = 0.065 if expression in ("fear", "surprise") else 0.04
    for sign in (-1, 1):
        x = 0.5 + sign * 0.16
        box = [x - 0.06, 0.4 - open_eyes, x + 0.06, 0.4 + open_eyes]
        pen.ellipse([v * side for v in box], fill=245)
        pen.ellipse([(x - 0.03) * side, 0.37 * side, (x + 0.03) * side, 0.43 * side], fill=25)
        inner, outer = (x - sign * 0.07, 0.28 + brow), (x + sign * 0.08, 0.28 - brow)
        ends = [v * side for v in (*inner, *outer)]
        pen.line(ends, fill=35, width=side // 40)
    mouth = [0.34 * side, 0.6 * side, 0.66 * side, 0.8 * side]
    if expression == "happiness":
        pen.chord(mouth, 10, 170, fill=60)
    elif expression in ("surprise", "fear"):
        pen.ellipse([0.42 * side, 0.64 * side, 0.58 * side, 0.86 * side], fill=40)
    elif expression in ("sadness", "disgust"):
        pen.arc([0.34 * side, 0.7 * side, 0.66 * side, 0.9 * side], 200, 340, 50, side // 30)
    else:
        pen.line([0.37 * side, 0.73 * side, 0.63 * side, 0.73 * side], fill=50, width=side // 30)
    small = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), dtype=np.int16)
    noisy = small + rng.normal(0, 4, small.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _sheets() -> tuple[Sheet, ...]:
    names = [str(c) for c in CLASSES]
    found = []
    for title, first, synthetic in (("lab", 0, False), ("invented", 50, True)):
        faces = [[draw_face(n, first + p) for n in names] for p in range(5)]
        rows = [f"{title}:{first + p:03d}" for p in range(5)]
        found.append(
            Sheet(
                title=title,
                png=contact_sheet(faces, columns=names, rows=rows, cell_px=128),
                alt=f"Five faces from {title} with six expressions each, drawn in a few strokes.",
                synthetic=synthetic,
                width_px=520,
                caption="5 of 40 people" if not synthetic else "5 of 240 invented identities",
            )
        )
    return tuple(found)


def without_subjects(data: ReportData) -> ReportData:
    """The same sweep on a database without subjects."""
    return replace(data, question=replace(data.question, by="sample"))

"""Write ``report/index.html``: the verdict, and everything it rests on, in one file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

import mien
from mien.core.manifest import Manifest
from mien.core.split import Protocol, Split
from mien.evaluation.calibration import pooled_reliability
from mien.evaluation.metrics import mean_metrics, metrics_from_dict
from mien.evaluation.report import render_report
from mien.evaluation.report_data import (
    ArmCost,
    ArmFigures,
    ArmSlices,
    PoolUsed,
    Question,
    ReportData,
    UsedVersion,
)
from mien.evaluation.saturation import Saturation
from mien.evaluation.slices import slice_accuracy
from mien.evaluation.verdict import Accuracy, Comparison, Decision
from mien.registry.read import Version
from mien.stages.context import Context, whole
from mien.stages.evaluate import Trial, curve_points, load_trials
from mien.stages.near_duplicates import near_duplicates
from mien.stages.pipeline import times
from mien.stages.report_sheets import sheets
from mien.stages.split import read_splits

log = logging.getLogger(__name__)
T = TypeVar("T")


def run(context: Context) -> None:
    """Gather what the earlier stages left and write the page."""
    data = gather(context)
    page = render_report(data)
    with whole(context.root / "report" / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    log.info("reported", extra={"verdict": data.decision.verdict, "bytes": len(page)})


def gather(context: Context) -> ReportData:
    """Build the report's data from ``data/``."""
    stored = context.read_json("decide", "decision.json")
    decisions = {p: _decision(d) for p, d in stored["protocols"].items()}
    decision = decisions["steps"]
    trials = load_trials(context)
    shown = list(dict.fromkeys(["r0", decision.candidate]))
    versions = {n: context.prepared(n) for n in context.params.preprocess.sets}
    return ReportData(
        title=context.params.report.title,
        experiment=context.params.experiment,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        code=mien.__version__,
        decision=decision,
        paper=decisions.get("paper"),
        question=_question(context, trials, versions),
        curve=tuple(curve_points(trials)),
        figures=_figures(context, trials, shown),
        slices=_slices(context, trials, shown, versions),
        saturation={
            pool: _rebuild(Saturation, s) for pool, s in (stored["saturation"] or {}).items()
        },
        sheets=sheets(context),
        costs=_costs(context, trials),
        stages=times(context),
        versions=tuple(_used(context, n, v) for n, v in versions.items()),
        params=context.params.model_dump(mode="json"),
        lineage={
            "challenger": stored["challenger"]["trial"],
            **{f"set {n}": v.info.digest for n, v in versions.items()},
        },
        near_duplicates=len(near_duplicates(context)),
        published=context.params.experiment == "paper",
    )


def _rebuild(kind: type[T], plain: Mapping[str, Any]) -> T:
    """Rebuild a flat dataclass; JSON made lists of its tuples."""
    values = {f.name: plain[f.name] for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _decision(plain: Mapping[str, Any]) -> Decision:
    values = dict(plain)
    for name in ("blind", "selection", "others"):
        values[name] = [_rebuild(Comparison, c) for c in values[name]]
    values["accuracies"] = [_rebuild(Accuracy, a) for a in values["accuracies"]]
    values["own"] = _rebuild(Comparison, values["own"])
    values["ceiling"] = values["ceiling"] and _rebuild(Comparison, values["ceiling"])
    return _rebuild(Decision, values)


def _question(
    context: Context, trials: Sequence[Trial], versions: Mapping[str, Version]
) -> Question:
    params = context.params
    splits = read_splits(context)
    split = splits[0]
    sweep = params.sweep
    ratio = next(t for t in trials if t.record["units"])
    return Question(
        database=params.split.database,
        classes=tuple(str(c) for c in params.classes),
        subjects={p: len(u) for p, u in split.parts.items()},
        images=_images(context, split, versions[params.split.database].manifest),
        unit_identities=ratio.record["unit"],
        unit_images=round((ratio.record["images"] - ratio.record["real_images"]) / ratio.arm.ratio),
        by=split.by,
        ratios=tuple(sweep.ratios),
        seeds=sweep.seeds,
        folds=len(splits),
        classifier=_classifier(params.sweep.classifier.model_dump()),
        steps=f"{sweep.steps.kimg:g} thousand images seen, batch {sweep.steps.batch}",
        paper=(
            f"at most {sweep.paper.epochs} epochs, patience {sweep.paper.patience}, "
            f"batch {sweep.paper.batch}"
            if "paper" in sweep.protocols
            else ""
        ),
        select_on=params.decide.select_on,
        blind=tuple(params.evaluate.blind),
        pools=tuple(_pool(context, name, versions[name]) for name in sweep.pools),
    )


def _images(context: Context, split: Split, manifest: Manifest) -> dict[Any, int]:
    counted: dict[Any, int] = {}
    for part, units in split.parts.items():
        wanted = set(units)
        counted[part] = sum(
            1
            for s in manifest
            if (s.id if split.by == "sample" else s.subject) in wanted
            and s.expression in context.params.classes
            and not s.failure
        )
    return counted


def _classifier(params: Mapping[str, Any]) -> str:
    width = f", width {params['width']:g}" if params["width"] != 1 else ""
    padding = f", {params['padding']} padding" if params["network"] == "seed" else ""
    return f"{params['network']}{padding}{width}"


def _pool(context: Context, name: str, version: Version) -> PoolUsed:
    stage, _, source = context.params.preprocess.sets[name].partition("/")
    if stage == "synthesise":
        made = context.params.synthesise[source]
        return PoolUsed(name, made.engine, made.identities, version.info.rows)
    return PoolUsed(name, "given", "given", version.info.rows)


def _of(trials: Sequence[Trial], arm: str, protocol: Protocol = "steps") -> list[Trial]:
    return [t for t in trials if t.arm.name == arm and t.protocol == protocol]


def _figures(
    context: Context, trials: Sequence[Trial], arms: Sequence[str]
) -> tuple[ArmFigures, ...]:
    stored = {m["key"]: m for m in context.read_json("evaluate", "metrics.json")}
    found = []
    for arm in arms:
        mine = _of(trials, arm)
        for role in mine[0].said:
            if role == "validation":
                continue
            said = [t.said[role] for t in mine]
            measured = [stored[t.record["key"]] for t in mine]
            found.append(
                ArmFigures(
                    arm=arm,
                    role=role,
                    trials=len(mine),
                    metrics=mean_metrics([metrics_from_dict(m["sets"][role]) for m in measured]),
                    before=pooled_reliability(said),
                    after=pooled_reliability(said, [m["temperature"] for m in measured]),
                )
            )
    return tuple(found)


def _slices(
    context: Context, trials: Sequence[Trial], arms: Sequence[str], versions: Mapping[str, Version]
) -> tuple[ArmSlices, ...]:
    params = context.params
    if not params.evaluate.slices:
        return ()
    samples = {s.id: s for s in versions[params.split.database].manifest}
    return tuple(
        ArmSlices(
            arm,
            "test",
            slice_accuracy(
                [(t.record["seed"], t.record["fold"], t.said["test"]) for t in _of(trials, arm)],
                samples,
                params.evaluate.slices,
                by=params.split.by,
                alpha=params.decide.alpha,
            ),
        )
        for arm in arms
    )


def _costs(context: Context, trials: Sequence[Trial]) -> tuple[ArmCost, ...]:
    groups: dict[tuple[str, Protocol], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.arm.name, trial.protocol), []).append(trial)
    per_face = _seconds_per_face(context)
    return tuple(
        ArmCost(
            arm=arm,
            protocol=protocol,
            trials=len(mine),
            images=mine[0].record["images"],
            images_seen=sum(t.record["images_seen"] for t in mine) / len(mine),
            trial_s=sum(t.record["wall_s"] for t in mine) / len(mine),
            synthesis_s=(mine[0].record["images"] - mine[0].record["real_images"])
            * per_face.get(mine[0].arm.pool, 0.0),
        )
        for (arm, protocol), mine in groups.items()
    )


def _seconds_per_face(context: Context) -> dict[str, float]:
    took = times(context)
    found = {}
    for name in context.params.sweep.pools:
        where = context.params.preprocess.sets[name]
        stage, _, source = where.partition("/")
        seconds = took.get(f"{stage} {source}", 0.0) if stage == "synthesise" else 0.0
        found[name] = seconds / max(context.prepared(name).info.rows, 1)
    return found


def _used(context: Context, name: str, version: Version) -> UsedVersion:
    params = context.params
    roles = {
        params.split.database: "trained on and tested",
        **dict.fromkeys(params.sweep.pools, "pool"),
        **dict.fromkeys(params.evaluate.blind, "blind"),
        **dict.fromkeys(params.evaluate.development, "development"),
    }
    if params.sweep.more_real:
        roles[params.sweep.more_real] = "ceiling"
    manifest = version.manifest
    return UsedVersion(
        role=roles.get(name, "not used"),
        name=name,
        digest=version.info.digest,
        rows=version.info.rows,
        subjects=len(manifest.subjects),
        synthetic=sum(s.origin == "synthetic" for s in manifest),
        unusable=sum(bool(s.failure) for s in manifest),
        licences=version.info.licences,
    )

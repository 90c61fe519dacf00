"""Judge every trial on every set, and gather the evidence the decision is made from."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien.core.scores import Predictions
from mien.core.split import Arm, Protocol
from mien.evaluation import curve
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.curve import CurvePoint, curve_rows
from mien.evaluation.evidence import Evidence, Judged, ScoreSet, judge, score_set
from mien.evaluation.metrics import evaluate
from mien.stages.context import Context, whole, write_json
from mien.stages.sweep_results import read_predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished trial as the sweep recorded it, with its predictions.

    Attributes:
        record: the entry of ``data/sweep/trials.json``.
        arm: what was mixed.
        said: role → predictions.
    """

    record: Mapping[str, Any]
    arm: Arm
    said: Mapping[str, Predictions]

    @property
    def protocol(self) -> Protocol:
        """Protocol it was trained under."""
        protocol: Protocol = self.record["protocol"]
        return protocol


def run(context: Context) -> None:
    """Write ``metrics.json``, ``curve.json`` and ``evidence.json`` into ``data/evaluate``."""
    trials = load_trials(context)
    out = context.folder("evaluate")
    figures = [_figures(t) for t in trials]
    write_json(out / "metrics.json", figures)
    points = curve_points(trials)
    rows = curve_rows(points)
    write_json(out / "curve.json", rows)
    _write_csv(context.folder("plots") / "curve.csv", rows)
    write_json(
        out / "evidence.json",
        {p: _plain(gather(context, trials, p)) for p in context.params.sweep.protocols},
    )
    write_json(context.folder("metrics") / "summary.json", _summary(rows))
    log.info("evaluated", extra={"trials": len(trials), "points": len(points)})


def load_trials(context: Context) -> list[Trial]:
    """Read what the sweep left, predictions included."""
    records = context.read_json("sweep", "trials.json")
    said = read_predictions(context.folder("sweep") / "predictions.parquet", context.params.classes)
    by_trial: dict[str, dict[str, Predictions]] = {}
    for (key, role), predictions in said.items():
        by_trial.setdefault(key, {})[role] = predictions
    return [
        Trial(r, Arm(**{k: v for k, v in r["arm"].items() if k != "name"}), by_trial[r["key"]])
        for r in records
    ]


def gather(context: Context, trials: Sequence[Trial], protocol: Protocol) -> Evidence:
    """Build one protocol's evidence: selection, own test, every blind database."""
    chosen = context.params.decide.select_on
    selection = "validation" if chosen == "validation" else f"development:{chosen}"
    mine = [t for t in trials if t.protocol == protocol]
    by = context.params.split.by
    return Evidence(
        protocol=protocol,
        selection=_scores(chosen, selection, mine, by, once=selection == "validation"),
        own=_scores("own test", "test", mine, by),
        blind={n: _scores(n, f"blind:{n}", mine, by) for n in context.params.evaluate.blind},
    )


def read_evidence(context: Context) -> dict[Protocol, Evidence]:
    """Read the evidence of every protocol back."""
    stored = context.read_json("evaluate", "evidence.json")
    return {
        protocol: Evidence(
            protocol=protocol,
            selection=_score_set(e["selection"]),
            own=_score_set(e["own"]),
            blind={name: _score_set(s) for name, s in e["blind"].items()},
        )
        for protocol, e in stored.items()
    }


def curve_points(trials: Sequence[Trial]) -> list[CurvePoint]:
    """One point an arm, set and protocol."""
    groups: dict[tuple[Arm, str, Protocol], list[Trial]] = {}
    for trial in trials:
        for role in trial.said:
            groups.setdefault((trial.arm, role, trial.protocol), []).append(trial)
    return curve.curve_points(
        {key: _by_seed(members, key[1]) for key, members in groups.items()},
        image_ratios={t.arm: t.record["image_ratio"] for t in trials},
    )


def _by_seed(trials: Sequence[Trial], role: str) -> list[Predictions]:
    """Join the folds of each seed, so that every seed has answered for the same faces."""
    seeds: dict[int, list[Predictions]] = {}
    for trial in trials:
        seeds.setdefault(trial.record["seed"], []).append(trial.said[role])
    return [_join(parts) for _, parts in sorted(seeds.items())]


def _join(parts: Sequence[Predictions]) -> Predictions:
    if len(parts) == 1:
        return parts[0]
    return Predictions(
        ids=[i for p in parts for i in p.ids],
        subjects=[s for p in parts for s in p.subjects],
        labels=np.concatenate([p.labels for p in parts]),
        logits=np.concatenate([p.logits for p in parts]),
        classes=parts[0].classes,
        affect=np.concatenate([p.affect for p in parts]),
        affect_true=np.concatenate([p.affect_true for p in parts]),
    )


def _scores(
    name: str, role: str, trials: Iterable[Trial], by: str, *, once: bool = False
) -> ScoreSet:
    judged: list[Judged] = [
        judge(
            t.arm,
            t.record["seed"],
            t.record["fold"],
            t.said[role],
            by="sample" if by == "sample" else "subject",
        )
        for t in trials
    ]
    return score_set(name, judged, once=once)


def _figures(trial: Trial) -> dict[str, Any]:
    """All metrics of a trial; the temperature is fitted on validation and used everywhere."""
    temperature = fit_temperature(trial.said["validation"])
    return {
        **{k: trial.record[k] for k in ("key", "protocol", "seed", "fold")},
        "arm": trial.arm.name,
        "temperature": temperature,
        "sets": {
            role: evaluate(said, temperature=temperature).to_dict()
            for role, said in trial.said.items()
        },
    }


def _plain(evidence: Evidence) -> dict[str, Any]:
    return {
        "selection": _plain_set(evidence.selection),
        "own": _plain_set(evidence.own),
        "blind": {name: _plain_set(scores) for name, scores in evidence.blind.items()},
    }


def _plain_set(scores: ScoreSet) -> dict[str, Any]:
    return {
        "name": scores.name,
        "subjects": list(scores.subjects),
        "seeds": list(scores.seeds),
        "arms": [{"arm": asdict(a), "scores": s.tolist()} for a, s in scores.scores.items()],
    }


def _score_set(stored: Mapping[str, Any]) -> ScoreSet:
    return ScoreSet(
        name=stored["name"],
        subjects=tuple(stored["subjects"]),
        seeds=tuple(stored["seeds"]),
        scores={Arm(**e["arm"]): np.array(e["scores"], dtype=np.float64) for e in stored["arms"]},
    )


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Nest accuracy by protocol, set and arm, for ``dvc metrics``."""
    nested: dict[str, Any] = {}
    for row in rows:
        role = str(row["set"]).replace(":", "_")
        nested.setdefault(row["protocol"], {}).setdefault(role, {})[row["arm"]] = round(
            row["mean"], 4
        )
    return nested

"""Decide which ratio helps, and name the challenger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mien.core.errors import MienError
from mien.core.tasks import RunData
from mien.evaluation.decision import decide
from mien.evaluation.evidence import Evidence
from mien.evaluation.saturation import fit_saturation
from mien.evaluation.verdict import DecideConfig, Decision
from mien.stages.context import Context, write_json
from mien.stages.evaluate import read_evidence

log = logging.getLogger(__name__)

DELIVERY_S = 30.0  # for the run that the challenger is registered under


def run(context: Context) -> None:
    """Write ``data/decide/decision.json``: verdict by protocol, challenger, saturation."""
    params = context.params.decide
    config = DecideConfig(min_effect=params.min_effect, alpha=params.alpha, power=params.power)
    evidence = read_evidence(context)
    decided = {p: decide(e, config) for p, e in evidence.items() if _has_ratios(e)}
    verdict = decided["steps"]
    challenger = _challenger(context, verdict)
    write_json(
        context.folder("decide") / "decision.json",
        {
            "protocols": {p: asdict(d) for p, d in decided.items()},
            "challenger": challenger,
            "saturation": _saturation(evidence["steps"]),
        },
    )
    figures = _figures(verdict)
    write_json(context.folder("metrics") / "decision.json", figures)
    run = _track(context, challenger, figures)
    _register(context, run)
    log.info("decided", extra={"verdict": verdict.verdict, "arm": verdict.arm})


def _has_ratios(evidence: Evidence) -> bool:
    return any(a.kind == "ratio" and a.ratio for a in evidence.own.scores)


def _challenger(context: Context, verdict: Decision) -> dict[str, Any]:
    """Take the chosen arm's trial with the median validation accuracy."""
    metrics = context.read_json("evaluate", "metrics.json")
    mine = sorted(
        (m["sets"]["validation"]["accuracy"], m["key"], m["temperature"])
        for m in metrics
        if m["arm"] == verdict.arm and m["protocol"] == "steps"
    )
    accuracy, key, temperature = mine[(len(mine) - 1) // 2]
    return {
        "trial": key,
        "arm": verdict.arm,
        "validation_accuracy": accuracy,
        "temperature": temperature,
    }


def _track(context: Context, challenger: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Record the verdict with the one model that is kept: the challenger's."""
    folder = context.cache / "trials" / challenger["trial"] / "model"
    run = context.tracker.start(context.params.experiment, f"decision: {figures['verdict']}")
    plain = {k: float(v) for k, v in figures.items() if isinstance(v, int | float)}
    context.tracker.finish(
        run,
        RunData(
            params={"arm": challenger["arm"], "trial": challenger["trial"]},
            metrics=plain | {"temperature": challenger["temperature"]},
            tags={"verdict": figures["verdict"]},
            artifacts=folder if folder.is_dir() else None,
        ),
    )
    return run


def _register(context: Context, run: str) -> None:
    """Register the challenger where models are registered; a failure never fails the verdict."""
    if context.models is None:
        return
    from mien.stages import register

    context.tracker.flush(DELIVERY_S)
    try:
        register.run(context, tracked=run)
    except MienError as error:
        log.warning("the challenger is not registered: %s; try: mien register", error)


def _saturation(evidence: Evidence) -> dict[str, Any] | None:
    """Fit the saturation curve of each pool's ratios on the own test."""
    fitted: dict[str, Any] = {}
    arms = [a for a in evidence.own.scores if a.kind == "ratio" and a.base == "geometric"]
    for pool in sorted({a.pool for a in arms if a.pool}):
        mine = sorted((a for a in arms if a.pool in ("", pool)), key=lambda a: a.ratio)
        try:
            found = fit_saturation([a.ratio for a in mine], evidence.own.stack(mine))
        except MienError as error:  # too few ratios for a curve is no failure of the decision
            log.info("no saturation curve: %s", error)
            continue
        fitted[pool] = asdict(found)
    return fitted or None


def _figures(verdict: Decision) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "ratio": verdict.ratio,
        "gain": round(verdict.own.estimate, 4),
        "gain_low": round(verdict.own.low, 4),
        "gain_high": round(verdict.own.high, 4),
        "blind": {
            c.set: {"gain": round(c.estimate, 4), "low": round(c.low, 4), "high": round(c.high, 4)}
            for c in verdict.blind
        },
    }

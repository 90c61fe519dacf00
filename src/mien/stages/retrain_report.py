"""The report of a retraining: ``report.md`` with its pictures beside it.

It compares with what the retraining branch had before, and says what the gate found, whether it
let the model pass or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core.serving import GateCheck
from mien.core.split import Arm
from mien.evaluation.curve import CurvePoint
from mien.evaluation.metrics import Metrics, mean_metrics, metrics_from_dict
from mien.stages.context import Context, whole
from mien.stages.pipeline import times

FOLDER = "data/metrics/retrain"  # where the report lies in the retraining branch
REPORT = "report.md"


@dataclass(frozen=True, slots=True)
class RunLink:
    """A run in the tracker.

    Attributes:
        name: of the run.
        where: its address, or its id where the tracker has no pages.
        key: our id of it.
    """

    name: str
    where: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report says that the project's folder does not.

    Attributes:
        state: ``promoted`` or ``refused``.
        branch: that was retrained.
        onto: that the result goes to.
        head: commit that was retrained.
        uncommitted: files that differed from it: the model is not that of the commit alone.
        key: of the retraining.
        asked: changes of the parameters.
        checks: of the gate.
        against: model that it was compared with; "" = none.
        same: the model is the one that is there already.
        runs: in the tracker.
        cpu_s: processor seconds of the retraining.
        wall_s: seconds.
        lock: digest of ``dvc.lock``.
        before: folder with ``data/metrics`` as it was.
    """

    state: str
    branch: str
    onto: str
    head: str
    uncommitted: tuple[str, ...]
    key: str
    asked: tuple[str, ...]
    checks: tuple[GateCheck, ...]
    against: str
    same: bool
    runs: tuple[RunLink, ...]
    cpu_s: float
    wall_s: float
    lock: str
    before: Path


def write_report(context: Context, facts: Facts, folder: Path) -> Path:
    """Write the report into a folder; returns ``report.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(context, folder)
    parts = [
        _head(context, facts),
        _gate(facts),
        _figures(context, facts.before),
        _curve(context, pictures),
        _confusions(context, pictures),
        _cost(context, facts),
        _origin(context, facts),
    ]
    file = folder / REPORT
    with whole(file) as temporary:
        temporary.write_text("\n\n".join(p for p in parts if p) + "\n", encoding="utf-8")
    return file


def without_pictures(text: str) -> str:
    """Return a report without its pictures, for where these are not to be had."""
    return re.sub(r"!\[[^]]*\]\([^)]*\)\n*", "", text)


def _head(context: Context, facts: Facts) -> str:
    decided = context.read_json("decide", "decision.json")
    said = [f"- {p}: {d['sentence']}" for p, d in decided["protocols"].items()]
    title = {"promoted": "passed the gate", "refused": "was refused by the gate"}[facts.state]
    asked = "\n".join(f"- `{line}`" for line in facts.asked) or "- nothing but the data and code"
    return (
        f"# Retraining of `{facts.branch}`: the challenger {title}\n\n"
        f"**Verdict**\n\n" + "\n".join(said) + f"\n\n**What was changed**\n\n{asked}"
    )


def _gate(facts: Facts) -> str:
    against = facts.against or "nobody: it is a first one"
    if facts.same:
        return f"## Gate\n\nThe model is the one that is registered already ({against})."
    rows = [
        (c.check, "passed" if c.passed else "**refused**", c.finding.replace("|", "/"))
        for c in facts.checks
    ]
    table = _table(("check", "", "finding"), rows)
    return f"## Gate\n\nCompared with {against}.\n\n{table}"


def _figures(context: Context, before: Path) -> str:
    """Every figure in ``data/metrics`` beside what it was."""
    rows = []
    for file in sorted((context.root / "data" / "metrics").glob("*.json")):
        old = dict(_flat(_json(before / "data" / "metrics" / file.name)))
        now = dict(_flat(_json(file)))
        for name in dict.fromkeys([*now, *old]):
            was, value = old.get(name), now.get(name)
            rows.append((f"{file.stem}.{name}", _number(was), _number(value), _gain(was, value)))
    shown = [r for r in rows if r[3] != "0"]
    rest = len(rows) - len(shown)
    table = _table(("figure", "before", "now", "change"), shown) if shown else ""
    same = f"\n\n{rest} figures did not change." if rest else ""
    return f"## Figures\n\n{table}{same}"


def _curve(context: Context, pictures: Mapping[str, str]) -> str:
    rows = [
        (p.role, p.protocol, p.arm.name, f"{p.mean:.3f}", f"{p.low:.3f} – {p.high:.3f}")
        for p in _points(context)
        if p.arm.kind == "ratio" and p.role != "validation"
    ]
    picture = f"![accuracy against ratio]({pictures['curve']})\n\n"
    table = _table(("set", "protocol", "arm", "accuracy", "interval"), rows)
    return f"## Accuracy against ratio\n\n{picture}{_folded('the same as a table', table)}"


def _confusions(context: Context, pictures: Mapping[str, str]) -> str:
    shown = []
    for (arm, role), found in _metrics(context).items():
        labels = [str(c) for c in found.classes]
        rows = [
            (f"**{label}**", *map(str, row), f"{_sum_share(row, i):.0%}")
            for i, (label, row) in enumerate(zip(labels, found.confusion, strict=True))
        ]
        table = _table(("true \\ said", *labels, "recall"), rows)
        name = f"confusion-{arm}-{role}".replace(":", "-")
        picture = f"![confusion of {arm} on {role}]({pictures[name]})\n\n"
        title = f"### {arm} on {role}: macro-F1 {found.macro_f1:.3f}, {found.faces} faces"
        shown.append(f"{title}\n\n{picture}{_folded('counts, all seeds together', table)}")
    return "## Confusion\n\n" + "\n\n".join(shown)


def _cost(context: Context, facts: Facts) -> str:
    trials = context.read_json("sweep", "trials.json")
    on_gpu = sum(t["wall_s"] for t in trials if str(t["device"]).startswith("cuda"))
    rows = [
        ("this retraining, processor", f"{facts.cpu_s:,.0f} s"),
        ("this retraining, from start to gate", f"{facts.wall_s:,.0f} s"),
        (f"the {len(trials)} trials, whenever they ran", f"{_worked(trials):,.0f} s"),
        ("of these on a GPU", f"{on_gpu:,.0f} s"),
        *((f"stage {name}, when it last ran", f"{s:,.1f} s") for name, s in times(context).items()),
    ]
    return "## Cost\n\n" + _table(("what", "took"), rows)


def _origin(context: Context, facts: Facts) -> str:
    versions = {n: context.prepared(n).info.digest for n in context.params.preprocess.sets}
    runs = [f"- run: {r.name}: {r.where}" for r in facts.runs] or ["- no run was tracked"]
    changed = ", ".join(f"`{name}`" for name in facts.uncommitted)
    lines = [
        *runs,
        *([f"- **not committed** when it was retrained: {changed}"] if changed else []),
        f"- retrained: `{facts.head}`, to `{facts.onto}`, retraining `{facts.key}`",
        f"- `dvc.lock`: `{facts.lock[:16]}`",
        *(f"- set `{name}`: `{digest[:16]}`" for name, digest in versions.items()),
    ]
    return "## Where it comes from\n\n" + "\n".join(lines)


def _pictures(context: Context, folder: Path) -> dict[str, str]:
    """Draw the curve and the confusion matrices; returns name → file name."""
    from mien.evaluation.plots import confusion_png
    from mien.evaluation.plots_curve import curve_figure
    from mien.evaluation.plots_style import to_png

    points = _points(context)
    roles = [r for r in dict.fromkeys(p.role for p in points) if r != "validation"]
    drawn = {"curve": to_png(curve_figure(points, roles))}
    for (arm, role), found in _metrics(context).items():
        name = f"confusion-{arm}-{role}".replace(":", "-")
        labels = [str(c) for c in found.classes]
        drawn[name] = confusion_png(found.confusion, labels, title=f"{arm} on {role}")
    for name, data in drawn.items():
        (folder / f"{name}.png").write_bytes(data)
    return {name: f"{name}.png" for name in drawn}


def _points(context: Context) -> list[CurvePoint]:
    """Read the curve that ``mien evaluate`` wrote."""
    rows = context.read_json("evaluate", "curve.json")
    return [_point(row) for row in rows]


def _point(row: Mapping[str, Any]) -> CurvePoint:
    return CurvePoint(
        arm=Arm(kind=row["kind"], ratio=row["ratio"], base=row["base"], pool=row["pool"] or ""),
        role=row["set"],
        protocol=row["protocol"],
        mean=row["mean"],
        low=row["low"],
        high=row["high"],
        seeds=row["seeds"],
        subjects=row["subjects"],
        image_ratio=row.get("image_ratio"),
    )


def _metrics(context: Context) -> dict[tuple[str, str], Metrics]:
    """Baseline and challenger's arm on each set, all seeds together."""
    stored = context.read_json("evaluate", "metrics.json")
    chosen = context.read_json("decide", "decision.json")["challenger"]["arm"]
    arms = [a for a in dict.fromkeys(("r0", chosen)) if any(m["arm"] == a for m in stored)]
    found = {}
    for arm in arms:
        mine = [m["sets"] for m in stored if m["arm"] == arm and m["protocol"] == "steps"]
        for role in (r for r in mine[0] if r != "validation"):
            found[arm, role] = mean_metrics([metrics_from_dict(sets[role]) for sets in mine])
    return found


def _worked(trials: Sequence[Mapping[str, Any]]) -> float:
    return float(sum(t["wall_s"] for t in trials))


def _sum_share(row: Sequence[int], index: int) -> float:
    return row[index] / max(sum(row), 1)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name every leaf of nested figures: ``steps.test.r0``."""
    if not isinstance(value, Mapping):
        yield prefix, value
        return
    for key, inside in value.items():
        yield from _flat(inside, f"{prefix}.{key}" if prefix else str(key))


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _gain(was: Any, now: Any) -> str:
    """Say the change; "0" for none."""
    if was is None or now is None:
        return "0" if was is now else "new" if was is None else "gone"
    if isinstance(was, int | float) and isinstance(now, int | float):
        return f"{now - was:+.4g}" if now != was else "0"
    return "0" if was == now else "changed"

"""What is watched: the rules, the dashboard, and the metrics that they name."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "k8s" / "components" / "monitoring"
RULES = FOLDER / "rules.yaml"
DASHBOARD = FOLDER / "mien.json"

_OWN = {"up", "ALERTS"}  # Prometheus' own
_WORDS = frozenset(
    (
        *("sum", "by", "max", "min", "avg", "count", "rate", "increase", "delta", "absent"),
        *("histogram_quantile", "max_over_time", "vector", "label_replace", "and", "or", "unless"),
        *("on", "offset", "without", "group_left", "group_right", "ignoring", "bool"),
    )
)


def rules():
    """Every rule of every group."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    """The rules that call somebody."""
    return [rule for rule in rules() if "alert" in rule]


def records():
    """Recorded name → expression."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def dashboard():
    """The dashboard as Grafana reads it."""
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def queries():
    """(title of the panel, expression) of everything the dashboard asks."""
    return [
        (panel["title"], target["expr"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


def names(expression):
    """Metrics that an expression names, recorded ones taken apart."""
    plain = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^\]]*\]", " ", expression)
    plain = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", plain)
    found = set(re.findall(r"[A-Za-z_][A-Za-z0-9_:]*", plain)) - _WORDS
    recorded = records()
    return set().union(*(names(recorded[n]) if n in recorded else {n} for n in found)) - _OWN


def selectors(expression):
    """(metric, label, values) that an expression asks for by name."""
    found = []
    for metric, inside in re.findall(r"([A-Za-z_:][A-Za-z0-9_:]*)\{([^}]*)\}", expression):
        for label, text in re.findall(r"(\w+)\s*=~?\s*\"([^\"]*)\"", inside):
            found.append((metric, label, text.split("|")))
    return found


def program(name):
    """Find a program of Debian's Prometheus: on PATH, or beside what MIEN_PROMETHEUS names.

    Without it the test is skipped aloud, and fails where CHECK_STRICT is set.
    """
    given = os.environ.get("MIEN_PROMETHEUS")
    found = shutil.which(name, path=str(Path(given).parent) if given else None)
    if found is None:
        why = f"{name} is not on PATH (Debian: apt install prometheus)"
        if os.environ.get("CHECK_STRICT"):
            pytest.fail(f"CHECK_STRICT is set, and {why}")
        pytest.skip(f"SKIPPED {name}: {why}")
    return found

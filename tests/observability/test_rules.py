"""Alerts fire when they should and keep quiet when they should, by promtool's own word."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.up.parts import alerts as groups_of
from tests.observability.monitoring import RULES, alerts, program

CASES = Path(__file__).with_name("alerts.test.yaml")


@pytest.fixture
def promtool(tmp_path):
    """Runs promtool in a folder with the rules and their cases; skips loudly without it."""
    found = program("promtool")
    (tmp_path / "rules.yml").write_text(json.dumps(groups_of(RULES)))
    shutil.copy(CASES, tmp_path / "cases.yml")

    def run(*arguments):
        return subprocess.run(
            [found, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_the_rules_are_rules(promtool):
    """Every expression is one, and nothing is said twice."""
    done = promtool("check", "rules", "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_and_keep_quiet(promtool):
    """The cases of alerts.test.yaml."""
    done = promtool("test", "rules", "cases.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_cases_can_fail(promtool, tmp_path):
    """With rules that never fire every alert's cases fail: they are no decoration."""
    bent = groups_of(RULES)
    for rule in bent["groups"][0]["rules"]:
        if "alert" in rule:
            rule["expr"] = "vector(0) == 1"
    (tmp_path / "rules.yml").write_text(json.dumps(bent))
    done = promtool("test", "rules", "cases.yml")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert [r["alert"] for r in alerts() if f"alertname: {r['alert']}," not in said] == []


def test_every_alert_has_both_cases_and_says_what_to_do():
    """One where it fires, one where it keeps quiet; who, what, and what to look at."""
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    asked = [a for case in cases for a in case.get("alert_rule_test", ())]
    for rule in alerts():
        mine = [bool(a["exp_alerts"]) for a in asked if a["alertname"] == rule["alert"]]
        assert {True, False} == set(mine), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "action"} <= set(rule["annotations"])
    assert {a["alertname"] for a in asked} == {rule["alert"] for rule in alerts()}

"""params.yaml, typed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from mien.core.errors import Invalid, NotFound
from mien.params.project import load_params, parse_params

ROOT = Path(__file__).resolve().parents[3]
DEMO = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("file", ["params.yaml", *sorted(p.name for p in ROOT.glob("params/*"))])
def test_every_parameter_file_of_the_project_is_valid(file):
    """What the repository ships can be run."""
    path = ROOT / file if file == "params.yaml" else ROOT / "params" / file
    assert load_params(path).classes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sweep.seedz", 3),
        ("sweep.seeds", 0),
        ("sweep.ratios", [2, 2]),
        ("sweep.ratios", []),
        ("sweep.protocols", ["paper"]),
        ("synthesise.stack.intensity", [0.9, 0.1]),
        ("synthesise.stack.units", -1),
        ("preprocess.detector", "viola"),
        ("preprocess.size_px", 4),
        ("decide.min_effect", 0),
        ("split.counts.train", -4),
        ("host", "somewhere"),
    ],
)
def test_a_typo_or_a_value_out_of_range_names_the_key(key, value):
    """The message carries the path of the key at fault."""
    wrong = copy.deepcopy(DEMO)
    *path, last = key.split(".")
    section = wrong
    for part in path:
        section = section[part]
    section[last] = value
    with pytest.raises(Invalid) as caught:
        parse_params(wrong)
    assert caught.value.reason == "PARAMS"
    assert key.split(".")[0] in str(caught.value)
    assert any(last in field or last in what for field, what in caught.value.violations.items())


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("evaluate", {"blind": ["nowhere"]}, "nowhere"),
        ("decide", {"select_on": "blind"}, "blind"),
        ("sweep", {"pools": ["ghosts"]}, "ghosts"),
        ("split", {"counts": {}, "fractions": {}}, "counts or fractions"),
    ],
)
def test_names_must_meet(section, change, says):
    """A set that nothing makes, or a blind database that selects, is refused."""
    wrong = copy.deepcopy(DEMO)
    wrong[section] |= change
    with pytest.raises(Invalid, match=says):
        parse_params(wrong)


def test_an_unknown_expression_is_refused():
    """Labels are the eight words and no others."""
    with pytest.raises(Invalid) as caught:
        parse_params(DEMO | {"expressions": ["anger", "hunger"]})
    assert caught.value.reason == "UNKNOWN_EXPRESSION"


def test_a_missing_or_broken_file_says_so(tmp_path):
    """No file, or no YAML: each its own reason."""
    with pytest.raises(NotFound) as caught:
        load_params(tmp_path / "params.yaml")
    assert caught.value.reason == "PARAMS_FILE"
    (tmp_path / "params.yaml").write_text("a: [1,")
    with pytest.raises(Invalid) as broken:
        load_params(tmp_path / "params.yaml")
    assert broken.value.reason == "PARAMS_SYNTAX"


def test_a_key_can_be_overridden_for_one_command():
    """`--set sweep.seeds=5` wins over the file; values are YAML."""
    params = load_params(ROOT / "params.yaml", ["sweep.seeds=5", "sweep.ratios=[3, 1]"])
    assert params.sweep.seeds == 5
    assert params.sweep.ratios == [1, 3]


@pytest.mark.parametrize("wrong", ["sweep.seeds", "nothing.here=1", "sweep.seeds.more=1", "=3"])
def test_an_override_that_leads_nowhere_is_refused(wrong):
    """A typo in --set is an error, not a silent new key."""
    with pytest.raises(Invalid) as caught:
        load_params(ROOT / "params.yaml", [wrong])
    assert caught.value.reason in ("PARAMS_OVERRIDE", "PARAMS")

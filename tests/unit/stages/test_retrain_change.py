"""The parameter file while a retraining changes it, and the journal of what was done."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core.errors import Invalid, NotFound
from mien.stages.retrain_change import Change, ParamsFile, changed_text, parse_datasets
from mien.stages.retrain_journal import Journal
from tests.pipeline.conftest import ROOT

TEXT = (ROOT / "params.yaml").read_text()


def test_a_change_keeps_comments_and_everything_else():
    """Only what was asked for differs; applied twice it is the same."""
    change = Change(("sweep.seeds=5", "gate.margin=0.02"), (1, 4), (("lab", "data/given/x"),))
    after = changed_text(TEXT, change)
    value, was = yaml.safe_load(after), yaml.safe_load(TEXT)
    assert (value["sweep"]["seeds"], value["sweep"]["ratios"]) == (5, [1, 4])
    assert value["ingest"]["lab"] == {"reader": "parquet", "root": "data/given/x"}
    was["sweep"] |= {"seeds": 5, "ratios": [1, 4]}
    was["gate"]["margin"] = 0.02
    was["ingest"]["lab"] = value["ingest"]["lab"]
    assert value == was
    comments = [line for line in TEXT.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == comments
    assert changed_text(after, change) == after
    assert changed_text(TEXT, Change()) == TEXT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change(("nothing.there=1",)), "PARAMS_OVERRIDE"),
        (Change(("sweep.seeds=none",)), "PARAMS"),
        (Change(ratios=(0,)), "PARAMS"),
        (Change(ratios=(2, 2)), "PARAMS"),
        (Change(datasets=(("other", "x"),)), "UNKNOWN_DATABASE"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change, reason):
    """Before anything is written."""
    with pytest.raises((Invalid, NotFound)) as raised:
        changed_text(TEXT, change)
    assert raised.value.reason == reason


def test_an_unfinished_change_is_taken_back_by_whoever_comes_next(tmp_path):
    """Killed in between, the next one starts from what the file was; a person's edit stays."""
    file = tmp_path / "params.yaml"
    file.write_text("before")
    mine = ParamsFile(file, tmp_path / "runs")
    mine.change(mine.original(), "after")
    assert ParamsFile(file, tmp_path / "runs").original() == "before"
    file.write_text("by hand")
    assert mine.original() == "by hand"
    mine.change("by hand", "after")
    mine.restore()
    assert file.read_text() == mine.original() == "by hand"
    mine.change("by hand", "after")
    mine.keep()
    assert file.read_text() == mine.original() == "after"


def test_data_sets_are_pairs():
    """A database and where to read it from."""
    assert parse_datasets(["lab=faces@production"]) == (("lab", "faces@production"),)
    for wrong in ("lab", "lab=", "=faces"):
        with pytest.raises(Invalid, match="OPTION_PAIR"):
            parse_datasets([wrong])


def test_a_step_is_done_once_for_its_inputs(tmp_path):
    """Again only for other inputs; a journal read anew knows the same."""
    called = []

    def work():
        called.append(1)
        return {"n": len(called)}

    journal = Journal(tmp_path)
    assert journal.once("push", "a", work) == {"n": 1}
    assert Journal(tmp_path).once("push", "a", work) == {"n": 1}
    assert Journal(tmp_path).once("push", "b", work) == {"n": 2}
    assert Journal(tmp_path).done("push", "a") is None  # what was pushed before has been replaced
    assert journal.done("pull") is None


@settings(deadline=None, max_examples=60)
@given(keep=st.integers(0, 400), again=st.booleans())
def test_a_journal_cut_anywhere_knows_what_was_written_whole(tmp_path_factory, keep, again):
    """And goes on behind the torn line."""
    folder = tmp_path_factory.mktemp("journal")
    whole = Journal(folder)
    for step in ("a", "b", "c"):
        whole.once(step, "x", lambda: {"said": "é"})
    data = whole.file.read_bytes()
    cut = data[: min(keep, len(data))]
    whole.file.write_bytes(cut)
    lines = sum(line in data.split(b"\n") for line in cut.split(b"\n") if line)
    known = Journal(folder)
    assert [s for s in ("a", "b", "c") if known.done(s, "x")] == ["a", "b", "c"][:lines]
    if again:
        known.once("d", "y", dict)
        found = Journal(folder)
        assert found.done("d", "y") is not None
        assert [s for s in ("a", "b", "c") if found.done(s, "x")] == ["a", "b", "c"][:lines]

"""The whole main path on rendered faces."""

from __future__ import annotations

import copy as copying
import json
from dataclasses import replace

import numpy as np
import pytest

from mien.core.errors import Corrupt, Interrupted, Invalid, WrongState
from mien.registry.read import open_version
from mien.stages.pipeline import run_all, run_stage
from mien.stages.split import read_splits
from mien.stages.sweep import run as sweep

from .conftest import make_context


def test_it_ends_with_a_verdict_and_a_page(done):
    """From nothing to a sentence, with every comparison behind it."""
    decision = json.loads((done.root / "data/decide/decision.json").read_text())
    assert set(decision["protocols"]) == {"steps", "paper"}
    assert decision["protocols"]["steps"]["verdict"] in ("helps", "none", "undecided")
    assert decision["protocols"]["steps"]["sentence"]
    page = (done.root / "report/index.html").read_text()
    assert decision["protocols"]["steps"]["sentence"][:20] in page


def test_every_arm_is_judged_on_every_set(done):
    """Each trial answers for validation, own test, mixed test and the blind database."""
    metrics = json.loads((done.root / "data/evaluate/metrics.json").read_text())
    arms = {m["arm"] for m in metrics if m["protocol"] == "steps"}
    assert arms == {
        "r0",
        "r0.plain",
        "r1@invented",
        "r2@invented",
        "r1@photos",
        "r2@photos",
        "synthetic2@invented",
        "shuffled2@invented",
    }
    for each in metrics:
        expected = {"validation", "test", "blind:blind"}
        if each["arm"] in ("r1@invented", "r2@invented", "synthetic2@invented"):
            expected.add("mixed_test")
        assert set(each["sets"]) == expected


def test_own_test_holds_real_faces_of_new_people_only(done):
    """No synthetic face and no training subject is in the own test of any arm."""
    from mien.stages.evaluate import load_trials

    (split,) = read_splits(done)
    people = set(split.parts["test"])
    for trial in load_trials(done):
        assert set(trial.said["test"].subjects) == people
        assert not people & set(split.parts["train"])


def test_photo_pools_are_made_of_training_people_only(done):
    """A face made from a photo keeps its person, and only training people were used."""
    (split,) = read_splits(done)
    pool = open_version(done.folder("synthesise", "photos")).manifest
    assert set(pool.subjects) == set(split.parts["train"])
    assert len(pool) == 2 * 12 * 6


def test_arms_see_the_same_number_of_images_under_steps(done):
    """More synthetic data must not mean merely more training."""
    trials = json.loads((done.root / "data/sweep/trials.json").read_text())
    assert len({t["images_seen"] for t in trials if t["protocol"] == "steps"}) == 1


def test_a_second_run_does_nothing(done):
    """Nothing changed, nothing runs."""
    before = {p: p.stat().st_mtime_ns for p in done.root.rglob("*") if p.is_file()}
    run_all(done)
    assert before == {p: p.stat().st_mtime_ns for p in done.root.rglob("*") if p.is_file()}


def test_a_new_ratio_runs_only_its_own_trials(copy, smoke_params):
    """The trial cache knows all others."""
    root, cache = copy
    params = copying.deepcopy(smoke_params)
    params["sweep"]["ratios"] = [1]
    params["sweep"]["seeds"] = 3
    fewer = sweep(make_context(root, cache, params), plan_only=True)
    assert fewer.trials - fewer.cached == len(
        [
            "r0",
            "plain",
            "r1i",
            "r1p",
            "syn",
            "shuffled",
            "paper r0",
            "paper r1i",
            "paper r1p",
            "paper syn",
        ]
    )


def test_a_killed_sweep_goes_on(copy, smoke_params, tmp_path):
    """Interrupted after some trials, the next run keeps them and ends with the same answer."""
    root, _ = copy
    calls = iter(range(10**6))
    stopping = make_context(
        root, tmp_path / "cache", smoke_params, cancelled=lambda: next(calls) > 10
    )
    with pytest.raises(Interrupted):
        sweep(stopping)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache/trials").glob("*/result.json")}
    again = make_context(root, tmp_path / "cache", smoke_params)
    before = (root / "data/sweep/predictions.parquet").read_bytes()
    sweep(again)
    assert (root / "data/sweep/predictions.parquet").read_bytes() == before
    assert (
        kept.items()
        <= {
            p: p.stat().st_mtime_ns for p in (tmp_path / "cache/trials").glob("*/result.json")
        }.items()
    )


def test_every_trial_is_tracked_under_its_sweep(copy, smoke_params):
    """One parent, one child a trial, with metrics, inputs and a folder of artefacts."""
    root, cache = copy
    context = make_context(root, cache, smoke_params)
    run_stage(context, "sweep")
    runs = context.tracker.runs
    (parent,) = [k for k, r in runs.items() if r["parent"] is None]
    children = [r for r in runs.values() if r["parent"] == parent]
    assert len(children) == len(json.loads((root / "data/sweep/trials.json").read_text()))
    for child in children:
        assert child["status"] == "FINISHED"
        assert 0 <= child["data"].metrics["test/accuracy"] <= 1
        assert len(child["data"].inputs["lab"]) == 64
        assert {"confusion_test.png", "metrics_test.json", "predictions.npz"} <= set(child["files"])
    assert any(name.startswith("ratio/steps/test") for name in runs[parent]["data"].series)


def test_a_corrupted_shard_stops_the_stage_that_reads_it(copy, smoke_params):
    """One wrong byte in a version is an error naming the item, never another result."""
    root, _ = copy
    shard = next((root / "data/ingest/lab").glob("shards/*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(Corrupt):
        run_stage(make_context(root, root / "cache", smoke_params), "preprocess", name="lab")


def test_a_missing_stage_says_what_to_run(tmp_path, smoke_params):
    """Deciding before evaluating is a wrong state with the way out."""
    with pytest.raises(WrongState) as caught:
        run_stage(make_context(tmp_path, tmp_path, smoke_params), "decide")
    assert caught.value.reason == "STAGE_MISSING"
    assert "mien evaluate" in caught.value.hint


def test_a_ratio_above_the_pool_is_refused_before_anything_trains(copy, smoke_params, tmp_path):
    """Nine units of a pool of two: refused, and no trial folder appears."""
    root, _ = copy
    params = copying.deepcopy(smoke_params)
    params["sweep"]["ratios"] = [9]
    params["sweep"]["mixed_test_identities"] = 0
    with pytest.raises(Invalid) as caught:
        sweep(make_context(root, tmp_path / "empty", params))
    assert caught.value.reason == "RATIO_ABOVE_POOL"
    assert not (tmp_path / "empty" / "trials").exists()


def test_one_subject_in_two_sets_is_refused_with_its_name(copy, smoke_params, tmp_path):
    """A blind database that shows training people is no blind database."""
    root, _ = copy
    params = copying.deepcopy(smoke_params)
    params["preprocess"]["sets"]["blind"] = "ingest/lab"
    context = make_context(root, tmp_path / "cache", params)
    run_stage(context, "preprocess", name="blind")
    with pytest.raises(Invalid) as caught:
        sweep(context)
    assert caught.value.reason == "SUBJECT_IN_TWO_SETS"
    assert "demo_lab:" in str(caught.value)


def test_the_controls_stay_controls(done):
    """Permuted labels never reach the verdict, whatever they score."""
    decision = json.loads((done.root / "data/decide/decision.json").read_text())
    for each in decision["protocols"].values():
        assert not each["candidate"].startswith(("shuffled", "more_real", "synthetic"))
        assert np.isfinite([each["own"]["low"], each["own"]["high"]]).all()


def test_near_duplicates_are_found_and_named(copy, smoke_params, tmp_path):
    """A training face smuggled into the blind database, slightly edited, is reported."""
    from mien.core.sample import Item
    from mien.imaging.decode import decode
    from mien.imaging.encode import encode_png
    from mien.registry.write import write_version
    from mien.stages.near_duplicates import near_duplicates

    root, cache = copy
    context = make_context(root, cache, smoke_params)
    assert near_duplicates(context) == []
    (split,) = read_splits(context)
    lab, blind = context.prepared("lab"), context.prepared("blind")
    stolen = next(i for i in lab.items() if i.sample.subject == split.parts["train"][0])
    edited = decode(stolen.image).copy()
    edited[:2, :2] //= 2
    first, *rest = blind.items()
    write_version(
        [Item(replace(first.sample, digest=""), encode_png(edited)), *rest],
        root / "data/preprocess/blind",
        name="blind",
        provenance=blind.info.provenance,
        licences=blind.info.licences,
        replace=True,
    )
    assert near_duplicates(make_context(root, cache, smoke_params)) == [
        (first.sample.id, stolen.sample.id)
    ]

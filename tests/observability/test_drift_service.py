"""The serving service keeps sums of what it judges, nobody's picture, and tells when they drift."""

from __future__ import annotations

import json
import logging
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mien.adapters.mlflow.models import MlflowModels
from mien.adapters.serving.drift_book import DriftBook
from mien.adapters.serving.local import LocalServing
from mien.adapters.serving.promotion import Promoter
from mien.adapters.triton.onnx_host import OnnxHost
from mien.cli.main import run
from mien.core.serving import Query
from mien.evaluation.drift_reference import Reference
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.serving_client import ServingClient
from services.chassis.testing import framed
from services.serving.drift import DriftWatch
from services.serving.mount import mounted
from tests.integration.serving.conftest import open_gate
from tests.observability.watched import encoded, pictures, watched_package

DAY = 86_400


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A tracking database that knows expression/1 with a reference and expression/2 without."""
    folder = tmp_path_factory.mktemp("watched")
    models = MlflowModels(f"sqlite:///{folder}/mlflow.db")
    models.register("expression", watched_package(folder / "one").folder)
    models.register("expression", watched_package(folder / "two", 1, reference=False).folder)
    return folder / "mlflow.db"


@pytest.fixture
def serving(known, tmp_path):
    """Serving in this process, expression/1 its champion."""
    shutil.copy(known, tmp_path / "mlflow.db")
    models = MlflowModels(f"sqlite:///{tmp_path}/mlflow.db")
    home = tmp_path / "serving"
    host = OnnxHost(home / "repository")
    found = LocalServing(Promoter(home, models, host, gate=open_gate), host, models)
    found.promote("expression/1")
    return found


class Clock:
    """A time that tests move."""

    def __init__(self):
        self.now = 10.0 * DAY

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Noon of no day in particular."""
    return Clock()


@pytest.fixture
def watch(serving, tmp_path, clock):
    """A watch over it, moved by hand."""

    def reference_of(champion):
        arrays = serving.promoter.package(champion.served).reference(champion.served.variant)
        return None if arrays is None else Reference.from_arrays(arrays)

    def make():
        made = DriftWatch(
            tmp_path, reference_of, window_s=DAY, keep_windows=3, alpha=0.01, now=clock
        )
        serving.observe = made.see
        return made

    return make


def ask(serving, images):
    """Have pictures judged."""
    for data in encoded(images):
        serving.recognise(Query(data))


def test_the_same_kind_of_faces_is_no_drift_and_brighter_ones_are(serving, watch, clock):
    """Each window is looked at once, when it is over; figures go to the metrics."""
    watched = watch()
    ask(serving, pictures(10, 300))
    assert watched.last is None or watched.last.verdict == "not_enough_data"
    clock.now += DAY
    ask(serving, pictures(11, 300, brighter=60))
    assert watched.last.verdict == "none"
    assert watched.figures("detected") == {"expression-1": 0.0}
    assert watched.figures("enough") == {"expression-1": 1.0}
    clock.now += DAY
    watched.flush()  # nobody asks: the window is over all the same
    assert watched.last.verdict == "drift"
    assert watched.figures("detected") == {"expression-1": 1.0}
    distance, limit = watched.figures("distance"), watched.figures("limit")
    assert distance["features"] > limit["features"]
    clock.now += DAY
    watched.flush()
    assert watched.last.verdict == "not_enough_data"
    assert watched.figures("enough") == {"expression-1": 0.0}


def test_a_window_survives_a_restart_and_old_ones_go(serving, watch, clock, tmp_path):
    """What fills a block is on the disk; the next process goes on with it."""
    book = DriftBook(tmp_path)
    first = watch()
    ask(serving, pictures(10, 100))
    first.close()
    half_written = tmp_path / "drift" / "expression-1" / ".864000.json.1"
    half_written.write_text("{")
    second = watch()
    ask(serving, pictures(11, 64))
    second.flush()
    (window,) = book.windows("expression-1")
    assert sum(b.faces for b in window.blocks) == 96 + 64
    assert not half_written.exists()
    assert window.found.sum() == 164
    for _ in range(5):
        clock.now += DAY
        ask(serving, pictures(12, 40))
        second.flush()
    starts = [w.start for w in book.windows("expression-1")]
    assert min(starts) >= clock.now - 3 * DAY


def test_a_damaged_window_begins_anew(serving, watch, tmp_path, caplog):
    """It is said, and what is seen from then on is kept."""
    watch().see(serving.champion(), None)
    first = watch()
    file = tmp_path / "drift" / "expression-1" / f"{10 * DAY}.json"
    file.write_text("{")
    with caplog.at_level(logging.WARNING, logger="services.serving.drift"):
        ask(serving, pictures(10, 40))
    assert any(str(file) in getattr(r, "what", "") for r in caplog.records)
    first.flush()
    (window,) = DriftBook(tmp_path).windows("expression-1")
    assert [b.faces for b in window.blocks] == [32]


def test_a_model_without_a_reference_is_served_and_said_to_have_none(
    serving, watch, tmp_path, caplog
):
    """Nothing is kept for it, once it is told, and calls are answered."""
    watch()
    serving.promote("expression/2")
    with caplog.at_level(logging.WARNING, logger="services.serving.drift"):
        ask(serving, pictures(10, 40))
    told = [r for r in caplog.records if "no reference" in getattr(r, "what", "")]
    assert len(told) == 1
    assert DriftBook(tmp_path).models() == []
    serving.rollback()
    ask(serving, pictures(10, 40))
    assert DriftBook(tmp_path).models() == ["expression-1"]


def test_trouble_with_the_sums_fails_no_call(serving, watch, tmp_path, caplog):
    """Here the folder cannot be made; the answers come."""
    watch()
    (tmp_path / "drift").write_text("in the way")
    ask(serving, pictures(10, 3))
    assert any(r.exc_info for r in caplog.records)


def test_nobody_is_in_what_is_kept(serving, watch, tmp_path, clock):
    """Sums over 32 faces or more, and nothing else: no pixel, no features, no id, no time."""
    watched = watch()
    images = pictures(10, 31)
    ask(serving, images)
    watched.flush()
    folder = tmp_path / "drift" / "expression-1"
    (file,) = folder.glob("*.json")
    assert json.loads(file.read_text())["blocks"] == []
    serving.recognise(Query(encoded(images[:1])[0], id="somebody"))
    watched.close()
    kept = json.loads(file.read_text())
    assert set(kept) == {"start", "seconds", "found", "blocks"}
    assert kept["start"] % DAY == 0
    (block,) = kept["blocks"]
    assert set(block) == {"classes", "confidence", "total", "square"}
    assert sum(block["classes"]) == 32
    everything = b"".join(p.read_bytes() for p in folder.iterdir())
    assert b"somebody" not in everything
    assert all(data not in everything for data in encoded(images))
    reference = DriftBook(tmp_path).reference("expression-1")
    said = serving.host.infer("expression-1", images, timeout_s=60)
    for projected in reference.projection.of(said["features"]):
        assert not any(np.allclose(projected, b["total"]) for b in kept["blocks"])
    largest = max(a.shape[0] for a in reference.to_arrays().values() if a.ndim)
    assert largest < 30  # bins, directions, sizes: no row for a face of validation


def test_it_is_off_unless_asked_for_and_told_in_the_metrics(serving, tmp_path):
    """Over the wire: no folder without the setting; with it, files and figures."""
    for drift in (False, True):
        data = tmp_path / f"data-{drift}"
        serving.observe = lambda _champion, _said: None
        with framed(
            "serving",
            mounted(serving),
            metrics_address="127.0.0.1:0",
            data=data,
            drift=drift,
            drift_window_s=DAY,
        ) as frame:
            with open_channel(frame.target, Settings()) as channel:
                client = ServingClient(channel)
                for image in encoded(pictures(10, 40)):
                    client.recognise(Query(image))
            url = f"http://{frame.metrics_target}/metrics"
            with urllib.request.urlopen(url, timeout=60) as answer:
                told = answer.read().decode()
        assert (data / "serving" / "drift").exists() is drift
        assert ('mien_drift_detected{model="expression-1"} 0.0' in told) is drift
        assert ('mien_drift_enough{model="expression-1"}' in told) is drift
        if drift:
            assert DriftBook(data / "serving").models() == ["expression-1"]


def test_the_verb_tells_by_its_exit_code(serving, watch, clock, tmp_path, capsys, monkeypatch):
    """0 no drift, 4 drift, 5 not enough data, 2 nothing kept; one JSON object where wished."""
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    watched = watch()

    def said(*arguments, days=0):
        since = f"1970-01-{11 + days:02d}"
        until = f"1970-01-{12 + days:02d}"
        argv = ["-q", "drift", "--home", str(tmp_path), "--since", since, "--until", until]
        return run([*argv, *arguments]), capsys.readouterr()

    code, told = said()
    assert code == 2
    assert "MIEN_SERVER_DRIFT" in told.err
    ask(serving, pictures(20, 250))
    clock.now += DAY
    ask(serving, pictures(21, 250, brighter=60))
    watched.flush()
    code, told = said()
    assert code == 0
    assert "none: nothing differs" in told.out
    code, told = said("--json", days=1)
    assert code == 4
    found = json.loads(told.out)
    assert found["model"] == "expression-1"
    assert "features" in found["drifted"]
    assert found["verdict"] == "drift"
    code, told = said(days=5)
    assert code == 5
    assert "not enough data" in told.out
    monkeypatch.chdir(tmp_path)  # no repository: nothing can be retrained, and that is the answer
    assert said("--retrain", days=1)[0] not in (0, 4)
    assert said("--retrain")[0] == 0  # no drift, no retraining
    assert said("--alpha", "0")[0] == 2
    assert said("--model", "expression-9")[0] == 2
    argv = ["-q", "drift", "--home", str(tmp_path), "--since", "yesterday"]
    assert run(argv) == 2


def test_no_picture_is_lost_or_counted_twice_when_many_are_judged_at_once(
    serving, watch, clock, tmp_path
):
    """Threads, turning windows, and flushes in between: the pictures add up."""
    watched = watch()
    champion = serving.champion()
    said = serving.host.infer(champion.served.hosted, pictures(40, 1), timeout_s=60)

    def many(_):
        for i in range(200):
            watched.see(champion, said)
            if i % 40 == 0:
                clock.now += DAY / 16
                watched.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many, range(8)))
    watched.close()
    windows = DriftBook(tmp_path).windows("expression-1")
    assert len(windows) > 1
    assert sum(int(w.found.sum()) for w in windows) == 8 * 200
    faces = sum(b.faces for w in windows for b in w.blocks)
    assert 8 * 200 - 32 < faces <= 8 * 200


def test_replicas_are_looked_at_together(serving, watch, clock, tmp_path, capsys, monkeypatch):
    """Each saw too little, both together saw enough; of different models they are refused."""
    monkeypatch.setenv("MIEN_TRACKING_URI", "none")
    watched = watch()
    ask(serving, pictures(30, 96))
    watched.flush()
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "drift", other / "drift")
    argv = ["-q", "drift", "--since", "1970-01-11", "--until", "1970-01-12", "--json"]
    one, two = ["--home", str(tmp_path)], ["--home", str(other)]
    assert run([*argv, *one]) == 5
    alone = json.loads(capsys.readouterr().out)
    run([*argv, *one, *two])
    both = json.loads(capsys.readouterr().out)
    assert (alone["faces"], both["faces"]) == (96, 192)
    assert run([*argv, *one, "--home", str(tmp_path / "nowhere")]) == 5
    capsys.readouterr()
    held = DriftBook(tmp_path).reference("expression-1")
    DriftBook(other).keep_reference("expression-1", replace(held, people=held.people + 1))
    assert run([*argv, *one, *two]) == 2
    assert "OTHER_REFERENCE" in capsys.readouterr().err

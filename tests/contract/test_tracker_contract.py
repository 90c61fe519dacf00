"""What every tracker promises: complete records, few calls, and never a failure of the work."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mien.adapters.mlflow.server import serve
from mien.adapters.mlflow.spool import CREATING, REMOTE, START
from mien.adapters.mlflow.tracker import MlflowTracker, NullTracker
from mien.core.tasks import RunData

FLUSH_S = 60.0
DIGEST = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a tracking database; making one costs seconds, so tests share it."""
    folder = tmp_path_factory.mktemp("tracking")
    tracker = MlflowTracker(f"sqlite:///{folder}/mlflow.db", folder / "spool")
    tracker.finish(tracker.start("warm", "up"), RunData())
    assert tracker.flush(FLUSH_S)
    return folder


@pytest.fixture(scope="module")
def server(home):
    """A real server over the same database, with its access log."""
    with serve(
        f"sqlite:///{home}/mlflow.db", log_file=home / "server.log", artifacts=home / "served"
    ) as running:
        yield running


@pytest.fixture(params=["sqlite", "http"])
def uri(request, home):
    if request.param == "http":
        return request.getfixturevalue("server").url
    return f"sqlite:///{home}/mlflow.db"


@pytest.fixture(params=["null", "sqlite", "http"])
def tracker(request, home, tmp_path):
    if request.param == "null":
        return NullTracker()
    if request.param == "http":
        return MlflowTracker(request.getfixturevalue("server").url, tmp_path / "spool")
    return MlflowTracker(f"sqlite:///{home}/mlflow.db", tmp_path / "spool")


@pytest.fixture(autouse=True)
def _environment():
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def experiment(request):
    return re.sub(r"\W", "_", request.node.name)


def full_data(folder):
    """What a real trial says."""
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "confusion.png").write_bytes(b"png")
    (folder / "metrics.json").write_text("{}")
    return RunData(
        params={"arm": "r5@photos", "fit.lr": 0.001, "pool@photos": True},
        metrics={"test/accuracy": 0.75, "wall_s": 12.5, "images_seen": 4000},
        series={"fit/loss": [(2000, 1.5), (4000, 0.5)]},
        tags={"trial": "abc"},
        inputs={"demo_lab": DIGEST},
        artifacts=folder,
    )


def deliver(tracker):
    """Record something, so that what waits in the spool is delivered too."""
    tracker.finish(tracker.start("another", "run"), RunData())
    return tracker.flush(FLUSH_S)


def runs_of(uri, experiment):
    """Read back what a server knows, by run name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000) if found else []
    return client, {run.info.run_name: run for run in runs}, len(runs)


def test_a_run_is_opened_and_closed(tracker, experiment):
    """Every tracker gives distinct ids and ends with nothing left to deliver."""
    parent = tracker.start(experiment, "sweep")
    child = tracker.start(experiment, "trial", parent=parent)
    assert parent != child
    tracker.update(parent, 1000, {"loss": 1.0})
    tracker.finish(child, RunData(metrics={"a": 1.0}))
    tracker.finish(parent, RunData(), status="FAILED")
    assert tracker.flush(FLUSH_S)


def test_everything_is_recorded(uri, experiment, tmp_path):
    """Params, metrics by images seen, tags, inputs with digests, artefacts, parent, times."""
    tracker = MlflowTracker(uri, tmp_path / "spool")
    parent = tracker.start(experiment, "sweep")
    child = tracker.start(experiment, "trial", parent=parent)
    tracker.finish(child, full_data(tmp_path / "scratch"))
    shutil.rmtree(tmp_path / "scratch")  # the caller's folder may go at once
    tracker.finish(parent, RunData(series={"ratio/accuracy": [(0, 0.5), (5, 0.6)]}))
    assert tracker.flush(FLUSH_S)
    client, runs, count = runs_of(uri, experiment)
    assert count == 2
    run = runs["trial"]
    assert run.info.status == runs["sweep"].info.status == "FINISHED"
    assert run.data.params == {"arm": "r5@photos", "fit.lr": "0.001", "pool_photos": "True"}
    assert run.data.metrics["test/accuracy"] == 0.75
    assert run.data.tags["trial"] == "abc"
    assert run.data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
    assert run.info.end_time - run.info.start_time == 12_500
    history = client.get_metric_history(run.info.run_id, "fit/loss")
    assert [(m.step, m.value) for m in history] == [(2000, 1.5), (4000, 0.5)]
    assert client.get_metric_history(run.info.run_id, "test/accuracy")[0].step == 4000
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("demo_lab", DIGEST[:32])
    assert {t.key: t.value for t in given.tags}["mien.digest"] == DIGEST
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"plots", "metrics.json"}
    curve = client.get_metric_history(runs["sweep"].info.run_id, "ratio/accuracy")
    assert [m.step for m in curve] == [0, 5]


def test_figures_of_a_long_run_are_seen_while_it_goes_on(uri, experiment, tmp_path):
    """They arrive before its end, by images seen, each once."""
    tracker = MlflowTracker(uri, tmp_path / "spool")
    run = tracker.start(experiment, "generator")
    tracker.update(run, 1000, {"d": 0.7, "g": 1.5})
    tracker.update(run, 2000, {"d": 0.6})
    assert tracker.flush(FLUSH_S)
    client, runs, _ = runs_of(uri, experiment)
    assert runs["generator"].info.status == "RUNNING"
    tracker.update(run, 3000, {"d": 0.5})
    tracker.finish(run, RunData(metrics={"wall_s": 3.0}))
    assert tracker.flush(FLUSH_S)
    client, runs, count = runs_of(uri, experiment)
    assert (count, runs["generator"].info.status) == (1, "FINISHED")
    history = client.get_metric_history(runs["generator"].info.run_id, "d")
    assert [(m.step, m.value) for m in history] == [(1000, 0.7), (2000, 0.6), (3000, 0.5)]


def test_figures_wait_for_a_server_that_is_down(home, experiment, tmp_path):
    """The next process that tracks delivers them with the rest."""
    tracker = MlflowTracker("http://127.0.0.1:9", tmp_path / "spool", timeout_s=1)
    run = tracker.start(experiment, "generator")
    tracker.update(run, 1000, {"d": 0.7})
    tracker.finish(run, RunData())
    assert not tracker.flush(FLUSH_S)
    uri = f"sqlite:///{home}/mlflow.db"
    assert deliver(MlflowTracker(uri, tmp_path / "spool"))
    assert runs_of(uri, experiment)[1]["generator"].data.metrics == {"d": 0.7}


def test_at_most_five_calls_a_trial(home, server, experiment, tmp_path):
    """Counted in the server's own access log."""
    tracker = MlflowTracker(server.url, tmp_path / "spool")
    parent = tracker.start(experiment, "sweep")
    assert tracker.flush(FLUSH_S)
    before = _calls(home)
    for i in range(4):
        child = tracker.start(experiment, f"trial {i}", parent=parent)
        tracker.finish(child, full_data(tmp_path / f"scratch{i}"))
    assert tracker.flush(FLUSH_S)
    assert 0 < len(_calls(home)) - len(before) <= 4 * 5


def _calls(home):
    """Requests to the tracking API; uploads of artefact files go elsewhere."""
    log = (home / "server.log").read_text()
    return re.findall(r'"(?:GET|POST|PATCH) (/api/2\.0/mlflow/\S+)', log)


def test_much_is_taken_in_batches(uri, experiment, tmp_path):
    """More than 100 params, more than 1000 metric points, values over the limit."""
    tracker = MlflowTracker(uri, tmp_path / "spool")
    data = RunData(
        params={f"p{i}": "x" * (9000 if i == 0 else 3) for i in range(130)},
        series={"loss": [(i, float(i)) for i in range(1500)]},
        tags={f"t{i}": "y" for i in range(120)},
    )
    tracker.finish(tracker.start(experiment, "much"), data)
    assert tracker.flush(FLUSH_S)
    client, runs, _ = runs_of(uri, experiment)
    run = runs["much"]
    assert len(run.data.params) == 130
    assert "cut; digest" in run.data.params["p0"]
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1500


def test_odd_figures_and_names(home, experiment, tmp_path):
    """NaN and infinity are taken; names that become the same are told apart."""
    uri = f"sqlite:///{home}/mlflow.db"
    tracker = MlflowTracker(uri, tmp_path / "spool")
    metrics = {"a@b": 1.0, "a#b": 2.0, "nan": float("nan"), "inf": float("inf")}
    tracker.finish(tracker.start(experiment, "odd"), RunData(metrics=metrics))
    assert tracker.flush(FLUSH_S)
    found = runs_of(uri, experiment)[1]["odd"].data.metrics
    assert found["a_b"] == 1.0
    assert sorted(v for k, v in found.items() if k.startswith("a_b")) == [1.0, 2.0]


def test_a_deleted_experiment_comes_back(home, experiment, tmp_path):
    """Tracking into an experiment somebody deleted restores it."""
    uri = f"sqlite:///{home}/mlflow.db"
    first = MlflowTracker(uri, tmp_path / "spool")
    first.finish(first.start(experiment, "one"), RunData())
    assert first.flush(FLUSH_S)
    client, _, _ = runs_of(uri, experiment)
    client.delete_experiment(client.get_experiment_by_name(experiment).experiment_id)
    second = MlflowTracker(uri, tmp_path / "spool")
    second.finish(second.start(experiment, "two"), RunData())
    assert second.flush(FLUSH_S)
    assert "two" in runs_of(uri, experiment)[1]


def test_the_address_is_set_for_child_processes(tmp_path):
    """MLFLOW_TRACKING_URI is never left to a default."""
    MlflowTracker("sqlite:////x/mlflow.db", tmp_path / "spool")
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:////x/mlflow.db"


def test_a_server_that_is_down_costs_nothing_and_loses_nothing(home, experiment, tmp_path):
    """Work goes on at once; the next process delivers, each run once, children under parents."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    tracker = MlflowTracker(closed, tmp_path / "spool")
    started = time.perf_counter()
    parent = tracker.start(experiment, "sweep")
    for i in range(3):
        child = tracker.start(experiment, f"trial {i}", parent=parent)
        tracker.finish(child, full_data(tmp_path / f"scratch{i}"))
    tracker.finish(parent, RunData())
    assert time.perf_counter() - started < 10
    assert not tracker.flush(FLUSH_S)
    uri = f"sqlite:///{home}/mlflow.db"
    later = MlflowTracker(uri, tmp_path / "spool")
    assert not later.flush(FLUSH_S)  # who records nothing does not wait for others' runs
    assert deliver(later)
    _, runs, count = runs_of(uri, experiment)
    assert (count, set(runs)) == (4, {"sweep", "trial 0", "trial 1", "trial 2"})
    assert runs["trial 1"].data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id


def test_a_server_that_never_answers_is_given_up_soon(experiment, tmp_path, caplog):
    """A black hole costs the timeout of one call, beside the work, and then a pause."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        tracker = MlflowTracker(url, tmp_path / "spool", timeout_s=1)
        started = time.perf_counter()
        with caplog.at_level(logging.WARNING, "mien"):
            tracker.finish(tracker.start(experiment, "lost"), RunData())
            assert time.perf_counter() - started < 5
            assert not tracker.flush(30.0)
        assert "runs wait in" in caplog.text
        again = time.perf_counter()
        tracker.finish(tracker.start(experiment, "lost too"), RunData())
        assert not tracker.flush(30.0)
        assert time.perf_counter() - again < 5  # left alone for a while


def test_a_spool_that_cannot_be_written_fails_nothing(experiment, tmp_path, caplog):
    """No disk for the spool: a warning, no error."""
    (tmp_path / "file").touch()
    tracker = MlflowTracker("sqlite:///:memory:", tmp_path / "file" / "spool")
    with caplog.at_level(logging.WARNING, "mien"):
        run = tracker.start(experiment, "x")
        tracker.update(run, 1000, {"loss": 1.0})
        tracker.finish(run, RunData())
    assert "cannot be tracked" in caplog.text


def test_replay_after_a_crash_makes_no_double(home, experiment, tmp_path):
    """Killed between creating a run and noting its id: the run is found again by its tag."""
    uri = f"sqlite:///{home}/mlflow.db"
    tracker = MlflowTracker(uri, tmp_path / "spool")
    key = tracker.start(experiment, "sweep")
    assert tracker.flush(FLUSH_S)
    folder = tracker.spool.find(key)
    assert (folder / CREATING).exists()
    (folder / REMOTE).unlink()
    again = MlflowTracker(uri, tmp_path / "spool")
    again.finish(key, RunData(metrics={"a": 1.0}))
    assert again.flush(FLUSH_S)
    _, runs, count = runs_of(uri, experiment)
    assert (count, runs["sweep"].info.status) == (1, "FINISHED")


def test_saying_a_run_twice_changes_nothing(home, experiment, tmp_path):
    """Killed between recording a run and clearing the spool: the replay is harmless."""
    uri = f"sqlite:///{home}/mlflow.db"
    tracker = MlflowTracker(uri, tmp_path / "spool")
    key = tracker.start(experiment, "sweep")
    assert tracker.flush(FLUSH_S)
    folder = tracker.spool.find(key)
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    tracker.finish(key, full_data(tmp_path / "scratch"))
    (finish,) = [json.loads((folder / "finish.json").read_text())]
    assert tracker.flush(FLUSH_S)
    shutil.copytree(kept, folder)
    (folder / "finish.json").write_text(json.dumps(finish))
    assert tracker.flush(FLUSH_S)
    client, runs, count = runs_of(uri, experiment)
    assert count == 1
    assert len(client.get_metric_history(runs["sweep"].info.run_id, "fit/loss")) == 2


def test_a_run_whose_process_died_is_killed(home, experiment, tmp_path):
    """Kill -9 of a sweep: the next one closes the run that stayed open."""
    uri = f"sqlite:///{home}/mlflow.db"
    code = (
        "import os, sys; from mien.adapters.mlflow.spool import Spool; from pathlib import Path;"
        f"Spool(Path(sys.argv[1])).start({experiment!r}, 'sweep', None); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "spool")], check=False)
    assert deliver(MlflowTracker(uri, tmp_path / "spool"))
    assert runs_of(uri, experiment)[1]["sweep"].info.status == "KILLED"


def test_a_refused_run_does_not_block_the_others(home, experiment, tmp_path, caplog):
    """What the server will never take is put aside and named; the rest is delivered."""
    uri = f"sqlite:///{home}/mlflow.db"
    tracker = MlflowTracker(uri, tmp_path / "spool")
    with caplog.at_level(logging.WARNING, "mien"):
        tracker.finish(tracker.start("", "bad"), RunData())
        tracker.finish(tracker.start(experiment, "good"), RunData())
        assert tracker.flush(FLUSH_S)
    assert "refused" in caplog.text
    assert "good" in runs_of(uri, experiment)[1]
    (kept,) = (tmp_path / "spool" / "rejected").iterdir()
    assert (kept / START).exists()


def test_two_trackers_on_one_spool_deliver_once(home, experiment, tmp_path):
    """Processes that share a spool do not say a run twice."""
    uri = f"sqlite:///{home}/mlflow.db"
    trackers = [MlflowTracker(uri, tmp_path / "spool") for _ in range(2)]

    def work(tracker, name):
        for i in range(5):
            tracker.finish(tracker.start(experiment, f"{name}{i}"), RunData())
            tracker.flush(FLUSH_S)

    threads = [
        threading.Thread(target=work, args=(t, n)) for t, n in zip(trackers, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trackers[0].flush(FLUSH_S)
    _, runs, count = runs_of(uri, experiment)
    assert count == len(runs) == 10


def test_the_server_and_its_children_end_together(server):
    """The UI's server leads a process group of its own."""
    assert os.getpgid(server.process.pid) == server.process.pid
    assert Path(f"/proc/{server.process.pid}").exists()

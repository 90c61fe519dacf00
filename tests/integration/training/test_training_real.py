"""The training service with the real worker."""

import json
import sys
import time
from contextlib import contextmanager

from mien.adapters.job_book import JobBook
from mien.adapters.job_worker import JobWorker
from mien.adapters.training_jobs import LocalTraining
from mien.adapters.work_roots import WorkRoots
from mien.core.digest import digest_file
from mien.core.jobs import SweepWork

REAL = (sys.executable, "-m", "mien")


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def training(home, root, slots=1):
    worker = JobWorker(REAL, cache=home / "cache", scratch=home / "running", grace_s=30.0)
    service = LocalTraining(
        JobBook(f"sqlite:///{home}/jobs.db"), roots=WorkRoots.of([root]), worker=worker, slots=slots
    ).start()
    try:
        yield service
    finally:
        assert service.drain(40.0)
        service.book.close()


def results(root):
    """Digests of what a sweep leaves; seconds are those of the clock."""
    trials = json.loads((root / "data/sweep/trials.json").read_text())
    for trial in trials:
        del trial["train_s"], trial["wall_s"]
    return digest_file(root / "data/sweep/predictions.parquet"), trials


def test_a_sweep_gives_what_it_gives_in_process(project, tmp_path, monkeypatch):
    """The same predictions to the byte, the same histories; a trial cancelled on the way too."""
    monkeypatch.setenv("MIEN_EXECUTOR", "persistent")  # workers use one thread, this process more
    kimg = {"steps": {"kimg": 0.4, "batch": 8, "evaluations": 2}, "seeds": 1}
    project.params(sweep=kimg).until("ingest", "split", "preprocess", "sweep")
    expected = results(project.root)
    (project.root / "data/sweep/predictions.parquet").unlink()
    home = tmp_path / "service"
    with training(home, project.root) as service:
        job = service.create(SweepWork(str(project.root)))
        until(lambda: any(t.done > 0.05 for t in service.jobs(parent=job.name).jobs))
        (trial,) = [t for t in service.jobs(parent=job.name).jobs if t.state == "RUNNING"]
        assert trial.total == 0.4
        service.cancel(job.name)
        until(lambda: service.get(trial.name).over and service.get(job.name).over)
        assert service.get(trial.name).state == "CANCELLED"
        assert (home / "cache/trials" / trial.spec["key"] / "checkpoint").is_dir()
        last = list(service.watch(service.create(SweepWork(str(project.root))).name))[-1]
        assert last.state == "SUCCEEDED", last.failure
        assert service.get(trial.name).tries == 2
    assert results(project.root) == expected

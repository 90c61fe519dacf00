"""Put the training service together from the settings."""

from __future__ import annotations

import sys
from pathlib import Path

from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.roots import WorkRoots
from mien.adapters.jobs.training import LocalTraining
from mien.adapters.jobs.worker import JobWorker, visible_gpus
from mien.adapters.kubernetes.work import ClusterWork
from mien.api.training.v1.training_pb2_grpc import add_TrainingServiceServicer_to_server
from mien.compose import make_cluster
from mien.settings import Settings, load_settings
from services.chassis.frame import Frame
from services.training.servicer import SERVICE, TrainingServicer

_LEAST_GRACE_S = 1.0
_MOST_THREADS = 256  # one waits for each Job that it watches


def mount(frame: Frame, command: tuple[str, ...] = (sys.executable, "-m", "mien")) -> None:
    """Mount the service, and begin to run its jobs.

    Workers, cache and retries are those of ``MIEN_*``, as for sweeps in process; plans that
    sweeps leave in the cache may be asked for, besides what lies below the work roots. With
    ``MIEN_EXECUTOR=kubernetes`` trials and generators' trainings are Jobs of the cluster, which
    run on while this service does not.

    Args:
        frame: of the server.
        command: how a mien is started.
    """
    settings = load_settings(Path.cwd())
    cluster = _cluster(settings)
    gpus = () if cluster else visible_gpus()
    training = LocalTraining(
        JobBook(frame.settings.database_url or f"sqlite:///{frame.home / 'jobs.db'}"),
        roots=WorkRoots.of(
            [*frame.settings.work_roots, *frame.settings.work_urls, settings.cache / "trials"]
        ),
        worker=JobWorker(
            command,
            cache=settings.cache,
            scratch=(settings.cache if cluster else frame.home) / "running",
            retries=settings.retries,
            grace_s=max(_LEAST_GRACE_S, min(settings.grace_s, frame.settings.grace_s - 1)),
            gpus=gpus,
            cluster=cluster,
        ),
        slots=cluster.slots if cluster else len(gpus) or settings.workers,
    )
    servicer = TrainingServicer(training, frame.ended)
    frame.add(add_TrainingServiceServicer_to_server, servicer, SERVICE)
    frame.metrics.jobs(training.counts)
    frame.on_drain(lambda left_s: _drain(training, left_s))
    training.start()


def _cluster(settings: Settings) -> ClusterWork | None:
    """What runs trials and trainings as Jobs; None where they run on this machine."""
    executor = make_cluster(settings)
    if executor is None:
        return None
    slots = min(executor.slots, _MOST_THREADS)
    store, cache = settings.work_url, settings.cache
    return ClusterWork(executor, slots, store, cache, log_dir=cache / "logs")


def _drain(training: LocalTraining, left_s: float) -> None:
    training.drain(left_s)
    training.book.close()

"""Put the generation service into its frame."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from mien.adapters.executors.local import LocalExecutor
from mien.adapters.jobs.book import JobBook
from mien.adapters.jobs.generation import KIND, LocalGenerationJobs
from mien.api.generation.v1.generation_pb2_grpc import add_GenerationServiceServicer_to_server
from mien.compose import make_cluster, make_registry
from mien.generators.local import LocalGeneration
from mien.settings import load_settings
from services.chassis.frame import Frame
from services.generation.servicer import GenerationServicer

SERVICE = "mien.api.generation.v1.GenerationService"
_SHARE = 0.8  # of the time a stopping service has, for its workers: the rest is for writing it down


def mount(frame: Frame) -> None:
    """Mount generation: what it makes comes from the work roots, its jobs live in its folder.

    Trained generators are found below the work roots. Versions go to the registry service where
    there is one, else to a registry in this service's folder. With ``MIEN_EXECUTOR=kubernetes``
    the shards of a job are one Indexed Job of the cluster, which runs on while this service does
    not.
    """
    settings = load_settings(Path.cwd())
    home = frame.home
    generation = LocalGeneration(settings.assets, roots=frame.settings.work_roots)
    cluster = make_cluster(settings)
    book = JobBook(frame.settings.database_url or f"sqlite:///{home / 'jobs.db'}")
    jobs = LocalGenerationJobs(
        book,
        generation,
        cluster
        or LocalExecutor(
            slots=settings.workers,
            command=(sys.executable, "-m", "mien"),
            log_dir=home / "logs",
            retries=settings.retries,
            grace_s=min(settings.grace_s, _SHARE * frame.settings.grace_s),
        ),
        cache(lambda: make_registry(home, settings)),
        home / "jobs",
        assets=None if cluster else settings.assets,  # the profile says where workers have them
        store=settings.work_url,
        outlives=cluster is not None,
    )
    frame.add(
        add_GenerationServiceServicer_to_server,
        GenerationServicer(generation, jobs, frame),
        SERVICE,
    )
    frame.metrics.jobs(lambda: {str(s): n for s, n in book.count([KIND]).items()})
    frame.on_drain(jobs.drain)
    jobs.start()

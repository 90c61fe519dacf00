"""Promotion over three Tritons, and back, while somebody asks: how long, and what callers see.

``python -m benchmarks.rollout``. Triton as ``make triton`` installed it, a Deployment played over
HTTP, MLflow on SQLite; the models are a product over 16 × 16 pixels, so that the exchange is
measured and not a network. A rollout starts its Pods one after the other (maxSurge 1).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mien.adapters.mlflow.models import MlflowModels
from mien.adapters.serving.local import LocalServing
from mien.core.errors import MienError
from mien.core.serving import Query
from tests.contract.test_serving_contract import face, png
from tests.integration.serving.conftest import TRITON
from tests.integration.serving.rollout_stand_in import TritonPod
from tests.integration.serving.test_rollout import Site, until
from tests.integration.serving.tiny import tiny_package


class Caller:
    """Asks one picture after the other, and keeps what came of it."""

    def __init__(self, serving: LocalServing) -> None:
        self.serving = serving
        self.answers: list[tuple[float, float, str]] = []  # when, how long, by which version
        self.failed: list[MienError] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        picture = png(face(1))
        while not self._over.wait(0.01):
            began = time.perf_counter()
            try:
                found = self.serving.recognise(Query(picture))
            except MienError as error:
                self.failed.append(error)
                continue
            took = time.perf_counter() - began
            self.answers.append((began, took, found.lineage.model_version))

    def end(self) -> None:
        """Stop asking."""
        self._over.set()
        self._thread.join()

    def first(self, version: str, after: float) -> float:
        """When the first answer of a version came, after a moment."""
        until(lambda: any(b > after and v == version for b, _, v in self.answers))
        return next(b + took for b, took, v in self.answers if b > after and v == version)

    def between(self, start: float, end: float) -> tuple[float, float]:
        """Median and 99th percentile of what a call took, ms."""
        took = [1e3 * t for b, t, _ in self.answers if start <= b < end]
        return float(np.median(took)), float(np.percentile(took, 99))


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if TRITON.missing:
        print(f"SKIPPED: {TRITON.missing}; make triton")
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        models = MlflowModels(f"sqlite:///{folder}/mlflow.db")
        for seed in (1, 2):
            models.register("expression", tiny_package(folder / f"package{seed}", seed).folder)

        def make(repository: str, address: str, arguments: list[str]) -> TritonPod:
            return TritonPod(TRITON, repository, address, arguments, folder)

        site = Site(folder, models, make=make)
        try:
            measure(site)
        finally:
            site.close()


def measure(site: Site) -> None:
    """Promote twice, roll back, and look at the calls meanwhile."""
    promoter = site.promoter("serving")
    until(site.rollout.settled)
    first = promoter.promote("expression/1").took_s
    caller = Caller(promoter.serving)
    quiet = time.perf_counter()
    until(lambda: len(caller.answers) >= 300)
    began = time.perf_counter()
    second = promoter.promote("expression/2").took_s
    seen = caller.first("2", began) - began
    end = time.perf_counter()
    back = time.perf_counter()
    rollback = promoter.rollback().took_s
    again = caller.first("1", back) - back
    until(lambda: site.rollout.settled() and site.answers("1") and not site.rollout.journal)
    front = time.perf_counter() - back
    caller.end()
    rows = [
        ("first promotion, 3 replicas", f"{first:.1f} s"),
        ("second promotion, 3 replicas", f"{second:.1f} s"),
        ("  until callers are answered by it", f"{seen:.1f} s"),
        ("rollback, the call", f"{rollback:.2f} s"),
        ("  until callers are answered by it", f"{again:.2f} s"),
        ("  until the front followed (rollout)", f"{front:.1f} s"),
        ("call, ms median / p99, before", "{:.1f} / {:.1f}".format(*caller.between(quiet, began))),
        (
            "call, ms median / p99, in a rollout",
            "{:.1f} / {:.1f}".format(*caller.between(began, end)),
        ),
        ("calls answered / failed", f"{len(caller.answers)} / {len(caller.failed)}"),
    ]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for what, found in rows:
        print(f"  {what:<38} {found}")


if __name__ == "__main__":
    main()

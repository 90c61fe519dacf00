"""Sixty-four writers at once: a linear history, nothing lost, nothing torn."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mien.adapters.catalogue.registry import open_registry
from services.chassis.testing import running
from services.registry.mount import mount
from tests.contract.stores import postgres, postgres_url
from tests.integration.registry.crowd import check, in_threads
from tests.integration.registry.faces import client

WRITERS = 64


@pytest.fixture(params=["sqlite", "postgres"])
def database(request):
    if request.param == "sqlite":
        yield ""
        return
    with postgres() as socket:
        yield postgres_url(socket)


def test_eight_processes_of_eight_threads(tmp_path, database):
    """One catalogue, opened by all of them at the same moment, which also makes its tables."""
    command = [sys.executable, "-m", "tests.integration.registry.crowd", database, str(tmp_path)]
    done = subprocess.run(
        [*command, "8", "8"],
        env={**os.environ, "PYTHONPATH": "src:."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check(open_registry(database, "", tmp_path), WRITERS)
    kept = {p.name for p in (tmp_path / "blobs" / "versions").iterdir()}
    assert len(kept) == WRITERS + 1


def test_sixty_four_clients_of_a_service(tmp_path):
    """Over the wire, all at once."""
    settings = {"data": tmp_path, "max_streams": 16, "queue": 64}
    with running("registry", mount, **settings) as target, client(target) as registry:
        assert in_threads(registry, range(WRITERS)) == []
        check(registry, WRITERS)

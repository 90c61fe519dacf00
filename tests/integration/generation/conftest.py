"""A generation service as a process of its own, and an engine that takes no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.registry.folder_registry import FolderRegistry
from mien.registry.read import open_version
from mien.settings import load_settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationClient, GenerationJobsClient

ROOT = Path(__file__).resolve().parents[3]
TWO = (Expression.ANGER, Expression.NEUTRAL)
# An engine of another package, found as any plug-in is: noise that depends on what is asked.
ENGINE = '''
"""Faces that take as long as they are told to, and fail where they are told to."""
import os
import time
import numpy as np
from mien.core.digest import digest_of, seed_of
from mien.core.errors import Invalid
from mien.core.generation import GeneratedFace


class Quick:
    """Noise instead of faces."""

    name = "quick"

    def __init__(self, face_s, size_px, end):
        self.face_s, self.size_px, self.end = face_s, size_px, end
        self.digest = digest_of(["quick", size_px])

    @classmethod
    def from_params(cls, params, assets):
        return cls(params.get("face_s", 0.0), params.get("size_px", 8), params.get("end", ""))

    def synthesise(self, requests):
        for r in requests:
            time.sleep(self.face_s)
            if self.end == "refuse":
                raise Invalid("NO_MORE", "/srv/quick/faces.bin is out of faces", hint="wait")
            if self.end == "die":
                os._exit(9)
            seed = seed_of(self.digest, r.seed, r.identity, r.expression, r.variation)
            pixels = np.random.default_rng(seed).integers(0, 256, (self.size_px, self.size_px, 3))
            if self.end == "alike":
                pixels[:] = 0
            yield GeneratedFace(r, pixels.astype(np.uint8))
'''


def plan(identities=12, *, seed=1, **params):
    """A set of quick faces."""
    return FacePlan("quick", TWO, identities, params, seed=seed, pool="p")


def ended_of(jobs, name):
    """Wait for a job's end."""
    *_, last = jobs.watch(name)
    return last


def ended(service, name):
    """Wait for the end of a job of a service."""
    return ended_of(service.jobs, name)


def versions(service):
    """Read all versions of its registry, verified to the last byte: name → digest."""
    registry = FolderRegistry(service.data / "generation" / "registry")
    found = registry.versions()
    for info in found:
        open_version(registry.root / "versions" / info.digest).verify()
    return {info.name: info.digest for info in found}


class Service:
    """A server in a process, that may be killed and started again."""

    def __init__(self, home, plugins):
        self.home = home
        self.data = home / "server"
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MIEN_")},
            "PYTHONPATH": os.pathsep.join(map(str, (plugins, ROOT / "src", ROOT))),
            "MIEN_CACHE": str(home / "cache"),
            "MIEN_WORKERS": "2",
            "MIEN_SERVER_GRACE_S": "8",
            "MIEN_SERVER_DATA": str(self.data),
            "OMP_NUM_THREADS": "1",
        }
        self.process = None
        self._channel = None

    def start(self):
        """Start it and wait until it listens."""
        log = (self.home / "server.log").open("ab")
        options = ("--address", "127.0.0.1:0", "--metrics-address", "none")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.generation", *options],
            cwd=self.home,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        line = self.process.stdout.readline().split()
        assert line[:2] == ["ready", "generation"], (self.home / "server.log").read_text()
        self._channel = open_channel(line[2], load_settings(self.home))
        return self

    @property
    def faces(self):
        """A client of its faces."""
        return GenerationClient(self._channel)

    @property
    def jobs(self):
        """A client of its jobs."""
        return GenerationJobsClient(self._channel)

    def workers(self):
        """The processes that work for it now."""
        return psutil.Process(self.process.pid).children()

    def kill(self):
        """End it as the kernel does when memory runs out."""
        self.process.kill()
        self._end()

    def stop(self):
        """Ask it to end; returns its exit code."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self._end()

    def _end(self):
        code = self.process.wait(30)
        self.process.stdout.close()
        self._channel.close()
        return code


@pytest.fixture(scope="session")
def plugins(tmp_path_factory):
    """A folder for PYTHONPATH with the quick engine, installed as pip would."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "quick_faces.py").write_text(ENGINE)
    info = folder / "quick_faces-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quick-faces\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mien.engines]\nquick = quick_faces:Quick\n")
    return folder


@pytest.fixture
def service(tmp_path, plugins):
    """A service that listens; what is left of it in the end is stopped."""
    server = Service(tmp_path, plugins).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def calm(tmp_path_factory, plugins):
    """A service that nobody kills, for many tests."""
    server = Service(tmp_path_factory.mktemp("calm"), plugins).start()
    yield server
    server.stop()

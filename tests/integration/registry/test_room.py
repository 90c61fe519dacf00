"""What a registry service does when its disk is full, and what it weighs."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mien.core.errors import Exhausted
from mien.core.sample import Item, Sample
from tests.integration.registry.faces import MADE, client, faces
from tests.integration.registry.nursery import nursery

FLAGS = ["--address", "127.0.0.1:0", "--metrics-address", "none"]


@contextmanager
def on_a_small_disk(folder, size):
    """Serve from a real file system of a size; yields address and where its files are seen."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("SKIPPED: no unshare on this machine")
    shell = (
        f"mount -t tmpfs -o size={size} tmpfs {folder} || exit 77; "
        f"exec {sys.executable} -m services.registry {' '.join(FLAGS)}"
    )
    server = subprocess.Popen(
        [unshare, "--mount", "--map-root-user", "sh", "-c", shell],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "src:.", "MIEN_SERVER_DATA": str(folder)},
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline().split()
        if not line and server.wait(10) == 77:
            pytest.skip("SKIPPED: no file system can be mounted here")
        yield line[2], f"/proc/{server.pid}/root{folder}"
    finally:
        server.kill()
        server.communicate()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    """The commit that does not fit is refused; the next one that fits is taken."""
    with on_a_small_disk(tmp_path, "3m") as (target, seen), client(target) as registry:
        first = registry.create("a", faces(100, "a"), provenance=MADE, licences={})
        for number in range(2):
            with pytest.raises(Exhausted) as caught:
                registry.create("b", faces(400, f"b{number}", 20_000), provenance=MADE, licences={})
            assert caught.value.reason == "DISK_FULL"
        versions = f"{seen}/registry/blobs/versions"
        assert os.listdir(versions) == [first.digest]  # noqa: PTH208 - through /proc
        second = registry.create("c", faces(100, "c"), provenance=MADE, licences={})
        assert [v.digest for v in registry.versions()] == [first.digest, second.digest]
        assert registry.verify("a").damage == registry.verify("c").damage == ()


def _memory(pid: int, field: str) -> int:
    """Read a figure of a process's memory in MiB."""
    with open(f"/proc/{pid}/status") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(field))


def test_images_are_not_gathered_in_memory(tmp_path):
    """A commit of 240 MB, then a reader that stands still: the service stays far below that."""
    size, count = 100_000, 2_400

    def many():
        noise = random.Random(0).randbytes(size + count)
        for i in range(count):
            yield Item(Sample(id=f"a/{i:05d}", source="a"), noise[i : i + size])

    with nursery(tmp_path) as service, client(service.start()) as registry:
        registry.create("warm", faces(100, "w"), provenance=MADE, licences={})
        before = _memory(service.pid, "VmRSS:")
        registry.create("large", many(), provenance=MADE, licences={})
        assert _memory(service.pid, "VmHWM:") - before < 150
        before = _memory(service.pid, "VmRSS:")
        arriving = registry.items("large")
        next(arriving)
        time.sleep(0.5)
        assert _memory(service.pid, "VmRSS:") - before < 60
        assert sum(1 for _ in arriving) == count - 1


def test_a_service_without_work_is_small(tmp_path):
    """No Arrow, NumPy, torch, pandas or MLflow is loaded before it is needed; under 120 MB."""
    script = """
import json, sys
from services.chassis.testing import running
from services.registry.mount import mount
with running("registry", mount) as target:
    import psutil
    heavy = ("pyarrow", "numpy", "torch", "pandas", "mlflow", "sklearn", "s3fs", "fsspec")
    loaded = [name for name in heavy if name in sys.modules]
    mib = psutil.Process().memory_info().rss / 2**20
    print(json.dumps({"loaded": loaded, "modules": len(sys.modules), "mib": mib}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": "src:."},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    assert found["modules"] < 1500
    assert found["mib"] < 120

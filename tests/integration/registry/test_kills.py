"""kill -9 of the service in the middle of commits: nothing acknowledged is lost, no half is seen.

``KILLS`` is how often: 20 with the fast tests, 50 in ``make soak``. ``KILL_SEED`` chooses other
moments.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

import grpc

from mien.core.errors import MienError
from tests.integration.registry.faces import MADE, client, faces
from tests.integration.registry.nursery import nursery

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("KILL_SEED", "0"))
WRITERS = 4


class Crowd:
    """Writers that never give up, and a reader that looks for halves all the time."""

    def __init__(self, rng: random.Random) -> None:
        self.target = ""
        self.acknowledged: dict[str, str] = {}
        self.damage: list[str] = []
        self.looks = 0
        self.interrupted = 0
        self._stopping = threading.Event()
        seeds = [rng.random() for _ in range(WRITERS)]
        self._threads = [
            *(threading.Thread(target=self._write, args=(n, s)) for n, s in enumerate(seeds)),
            threading.Thread(target=self._look),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, commits: int) -> None:
        """Wait until so many more are acknowledged, on however busy a machine."""
        until = time.monotonic() + 30
        wanted = len(self.acknowledged) + commits
        while len(self.acknowledged) < wanted and time.monotonic() < until:
            time.sleep(0.002)

    def stop(self) -> None:
        """Let each writer finish what it has begun."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _write(self, number: int, seed: float) -> None:
        rng = random.Random(seed)
        made = 0
        while not self._stopping.is_set():
            made += 1
            name = f"w{number}-{made}"
            self._insist(name, rng.choice((5, 40, 300)))

    def _insist(self, name: str, count: int) -> None:
        items = faces(count, name)
        while True:
            try:
                with client(self.target) as registry:
                    info = registry.create(
                        name, items, provenance=MADE, licences={}, request_id=name
                    )
                self.acknowledged[name] = info.digest
                return
            except (MienError, grpc.RpcError):
                self.interrupted += 1
                time.sleep(0.02)

    def _look(self) -> None:
        while not self._stopping.is_set():
            try:
                with client(self.target) as registry:
                    for info in registry.versions()[-3:]:
                        self.damage += registry.verify(info.digest).damage
                        self.looks += 1
            except (MienError, grpc.RpcError):
                time.sleep(0.02)


def test_kills_lose_nothing_and_show_no_halves(tmp_path):
    """Every acknowledged version is there, whole, once; numbers have no gaps; leftovers go."""
    rng = random.Random(SEED)
    crowd = Crowd(rng)
    with nursery(tmp_path) as service:
        crowd.target = service.start()
        crowd.start()
        for _ in range(KILLS):
            crowd.wait_for(rng.choice((0, 0, 1, 2, 5)))
            time.sleep(rng.uniform(0.0, 0.12))
            service.kill()
            crowd.target = service.start()
        crowd.stop()

        with client(crowd.target) as registry:
            registry.create("last", faces(3, "last"), provenance=MADE, licences={})
            entries = registry.history(limit=100_000)
            assert [e.sequence for e in entries] == list(range(1, len(entries) + 1))
            named = Counter(e.info.name for e in entries)
            assert set(named) == {*crowd.acknowledged, "last"}
            assert set(named.values()) == {1}
            found = {e.info.name: e.info.digest for e in entries}
            assert {n: found[n] for n in crowd.acknowledged} == crowd.acknowledged
            for entry in entries:
                verification = registry.verify(entry.info.digest)
                assert verification.damage == ()
                assert verification.items_right == entry.info.rows
    assert crowd.damage == []
    assert crowd.looks > 0
    assert crowd.interrupted > 0
    assert len(crowd.acknowledged) >= WRITERS
    kept = {p.name for p in (tmp_path / "registry" / "blobs" / "versions").iterdir()}
    assert {e.info.digest for e in entries} <= kept
    assert [name for name in kept if name.endswith(".tmp")] == []

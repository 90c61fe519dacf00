"""Write to one registry from several processes with several threads each, at once.

``python -m tests.integration.registry.crowd DATABASE_URL FOLDER PROCESSES THREADS``: forks once
everything is loaded. Writer n of N registers ``names`` n % 8, its own content and one that all
share; every eighth moves an alias by compare and set until it has moved it once.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from mien.adapters.catalogue.registry import open_registry
from mien.core.errors import Conflict
from mien.core.ports import Registry
from tests.integration.registry.faces import MADE, faces


def write(registry: Registry, number: int) -> None:
    """Do one writer's share."""
    name = f"name-{number % 8}"
    own = registry.create(name, faces(6, f"own {number}", 200), provenance=MADE, licences={})
    registry.create("shared", faces(4, "shared", 200), provenance=MADE, licences={})
    while number % 8 == 0:
        before = registry.get("shared@turn").digest if registry.aliases("shared") else "none"
        try:
            registry.set_alias("shared", "turn", "shared", expect=before)
            break
        except Conflict:
            continue
    assert registry.entry(f"{name}@{own.digest}").info == own


def in_threads(registry: Registry, numbers: range) -> list[str]:
    """Let a thread do each number's share; returns what went wrong."""
    wrong: list[str] = []

    def work(number: int) -> None:
        try:
            write(registry, number)
        except Exception as error:  # noqa: BLE001 - told by the caller
            wrong.append(f"{number}: {error!r}")

    threads = [threading.Thread(target=work, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def check(registry: Registry, writers: int) -> None:
    """Look whether everything is there, once, whole, in one line."""
    entries = registry.history(limit=10_000)
    assert [e.sequence for e in entries] == list(range(1, writers + 2))
    own = [e for e in entries if e.info.name != "shared"]
    assert len({e.info.digest for e in own}) == len(own) == writers
    for number in range(8):
        mine = [e.info for e in own if e.info.name == f"name-{number}"]
        assert len(mine) == writers // 8
        assert registry.get(f"name-{number}") == mine[-1]
    for entry in entries:
        assert registry.verify(entry.info.digest).damage == ()


def _main() -> None:
    import mien.registry.write  # noqa: F401

    url, folder, processes, threads = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
    children = []
    for first in range(0, processes * threads, threads):
        pid = os.fork()
        if pid == 0:
            wrong = in_threads(open_registry(url, "", folder), range(first, first + threads))
            sys.stderr.write("\n".join(wrong))
            sys.stderr.flush()
            os._exit(1 if wrong else 0)
        children.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    sys.exit(1 if any(codes) else 0)


if __name__ == "__main__":
    _main()

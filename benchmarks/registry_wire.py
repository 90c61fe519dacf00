"""Commit 20,000 encoded 64 × 64 faces to a registry service; stream 10,000 back, and in process.

Figures wanted: commit over the wire, acknowledged when everything is on the disk, ≤ 2 s. The
service is a process of its own on the loopback. Processor time of both processes is printed beside
the wall time; a second core lets client and service work at once. Every round brings other
content: the same again would only be looked up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import psutil

from benchmarks.versions import make_images, make_items
from mien.adapters.catalogue.registry import open_registry
from mien.core.catalogue import ItemFilter
from mien.core.expression import Expression
from mien.core.manifest import Licence, Provenance
from mien.core.ports import Registry
from mien.core.sample import Item
from mien.imaging.encode import encode_png
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.registry_client import RegistryClient


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of wall, of this process's and of the service's processor time."""

    wall: float
    client: float
    server: float

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s ({self.client:.2f} + {self.server:.2f})"


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run the registry service; yields its address and process."""
    env = {**os.environ, "MIEN_SERVER_DATA": str(folder), "MIEN_SERVER_LOG_LEVEL": "warning"}
    flags = ["--address", "127.0.0.1:0", "--metrics-address", "none"]
    command = [sys.executable, "-m", "services.registry", *flags]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()
            assert said[0] == "ready", said
            yield said[2], psutil.Process(process.pid)
        finally:
            process.terminate()


def timed(work: Callable[[], object], server: psutil.Process | None) -> Spent:
    def processor() -> float:
        return sum(server.cpu_times()[:2]) if server is not None else 0.0

    wall, client, served = time.perf_counter(), time.process_time(), processor()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - client, processor() - served)


def commit(registry: Registry, name: str, items: list[Item]) -> None:
    info = registry.create(
        name,
        items,
        provenance=Provenance("benchmark"),
        licences={"bench": Licence("CC0-1.0")},
        request_id=name,
    )
    assert info.rows == len(items)


def read(registry: Registry, name: str, count: int) -> None:
    assert sum(1 for _ in islice(registry.items(name), count)) == count


def read_one_class(registry: Registry, name: str) -> None:
    where = ItemFilter(expressions=frozenset({Expression.FEAR}))
    assert all(i.sample.expression == Expression.FEAR for i in registry.items(name, where))


def show(what: str, local: list[Spent], remote: list[Spent], wanted: str) -> None:
    ours, theirs = (min(s, key=lambda spent: spent.wall) for s in (remote, local))
    typical = statistics.median(spent.wall for spent in remote)
    ratio = ours.wall / theirs.wall
    print(f"{what:30}{theirs!s:>24}{ours!s:>24}{ratio:7.2f}×{typical:8.2f} s{wanted:>9}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--stream", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    args = parser.parse_args()
    encoded = [encode_png(image) for image in make_images(args.images)]
    size = sum(map(len, encoded)) / 1e6
    print(f"{args.images} faces, {size:.1f} MB encoded, load {os.getloadavg()}")
    spent: dict[str, list[Spent]] = {}
    with (
        tempfile.TemporaryDirectory(dir=args.folder) as folder,
        service(Path(folder) / "server") as (target, process),
    ):
        idle = process.memory_info().rss / 2**20
        local = open_registry("", "", Path(folder) / "local")
        remote = RegistryClient(open_channel(target, Settings()))
        for number in range(args.rounds):
            items = [
                replace(item, sample=replace(item.sample, id=f"bench/{number}/{i:06d}"))
                for i, item in enumerate(make_items(encoded))
            ]
            for where, registry, server in (("local", local, None), ("remote", remote, process)):
                name = f"round-{number}"
                works: dict[str, Callable[[], object]] = {
                    "commit": lambda r=registry, n=name, i=items: commit(r, n, i),  # type: ignore[misc]
                    "stream": lambda r=registry, n=name: read(r, n, args.stream),  # type: ignore[misc]
                    "filter": lambda r=registry, n=name: read_one_class(r, n),  # type: ignore[misc]
                    "verify": lambda r=registry, n=name: r.verify(n),  # type: ignore[misc]
                }
                for what, work in works.items():
                    spent.setdefault(f"{what} {where}", []).append(timed(work, server))
        busy = process.memory_info().rss / 2**20
    columns = f"{'in process':>24}{'over the wire':>24}{'ratio':>8}{'median':>10}{'wanted':>9}"
    print(f"{'wall (client + service CPU)':30}{columns}")
    labels = {
        "commit": (f"commit {args.images} faces", "≤ 2 s"),
        "stream": (f"stream {args.stream} faces", ""),
        "filter": ("stream one class of eight", ""),
        "verify": ("verify", ""),
    }
    for what, (label, wanted) in labels.items():
        show(label, spent[f"{what} local"], spent[f"{what} remote"], wanted)
    print(f"memory of the service: {idle:.0f} MiB idle, {busy:.0f} MiB afterwards")


if __name__ == "__main__":
    main()

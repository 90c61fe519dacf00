"""Items to send, and clients to send them with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from mien.core.manifest import Provenance
from mien.core.sample import Item, Sample
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.registry_client import RegistryClient

MADE = Provenance("test")


def faces(count: int, mark: str, size: int = 1500) -> list[Item]:
    """Make items that differ from those of any other mark."""
    rng = random.Random(mark)
    return [
        Item(Sample(id=f"a/{i:05d}", source="a", subject=f"a:{i // 8}"), rng.randbytes(size))
        for i in range(count)
    ]


@contextmanager
def client(target: str) -> Iterator[RegistryClient]:
    """Connect to a service."""
    with open_channel(target, Settings()) as channel:
        yield RegistryClient(channel)

"""Items for registries, and what is done to them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mien.core.manifest import Licence, Provenance, VersionInfo
from mien.core.ports import Registry
from mien.core.sample import Item, Sample

MADE = Provenance("contract", {"seed": 3}, {"source": "f" * 64}, code="0", device="cpu")
FREE = {"a": Licence("CC0-1.0", True, "no person is shown", "")}


def faces(count: int, mark: int = 0) -> list[Item]:
    """Make items; another mark makes other images."""
    return [
        Item(
            Sample(id=f"a/{i:03d}", source="a", subject=f"a:{i // 2}", attributes={"age": "é"}),
            b"image %d of %d" % (i, mark),
        )
        for i in range(count)
    ]


def create(registry: Registry, name: str, items: Iterable[Item], **changes: Any) -> VersionInfo:
    """Register items, with everything else filled in."""
    plain: dict[str, Any] = {"provenance": MADE, "licences": FREE, **changes}
    return registry.create(name, items, **plain)


def at_once(count: int, work: Callable[[int], None]) -> None:
    """Do a piece of work in as many threads."""
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def spoil(store: Path, right: bytes, wrong: bytes) -> None:
    """Change bytes wherever a registry keeps them: on this disk or in the buckets."""
    if "AWS_ENDPOINT_URL" in os.environ:
        import s3fs

        s3 = s3fs.S3FileSystem()
        s3.invalidate_cache()
        for path in (p for bucket in s3.ls("") for p in s3.find(bucket) if p.endswith(".parquet")):
            data = s3.cat_file(path)
            if right in data:
                s3.pipe_file(path, data.replace(right, wrong))
    for file in store.rglob("*.parquet"):
        data = file.read_bytes()
        if right in data:
            file.write_bytes(data.replace(right, wrong))

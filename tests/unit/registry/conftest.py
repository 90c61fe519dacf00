"""Items and versions to test with."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core.expression import EXPRESSIONS
from mien.core.manifest import Licence, Provenance
from mien.core.sample import Item, Sample
from mien.imaging.encode import encode_png
from mien.registry.read import open_version
from mien.registry.write import write_version


def draw_items(count: int, *, source: str = "lab", seed: int = 0) -> list[Item]:
    """Real PNG images, all different, eight expressions a subject."""
    rng = np.random.default_rng(seed)
    return [
        Item(
            Sample(
                id=f"{source}/{i:04d}",
                source=source,
                subject=f"{source}:{i // 8:03d}",
                expression=EXPRESSIONS[i % 8],
                valence=round(float(rng.uniform(-1, 1)), 3),
                arousal=0.25,
                file=f"{i:04d}.png",
                attributes={"age": str(i % 60)},
                landmarks=((1.5, 2.0 + i), (3.25, 4.0)),
                width=8,
                height=8,
            ),
            encode_png(rng.integers(0, 256, (8, 8), dtype=np.uint8)),
        )
        for i in range(count)
    ]


@pytest.fixture
def make_items():
    return draw_items


@pytest.fixture
def write(tmp_path):
    """Write items into ``tmp_path/<name>`` with everything else filled in."""

    def write(items, name="faces", **changes):
        plain = {
            "name": name,
            "provenance": Provenance("test", {"seed": 1}, {"source": "0" * 64}),
            "licences": {"lab": Licence("CC-BY-4.0", True, "signed", "Nobody (2020)")},
        }
        return write_version(items, tmp_path / name, **{**plain, **changes})

    return write


@pytest.fixture
def version(write, make_items, tmp_path):
    """A version of 40 items in three shards."""
    write(make_items(40), shard_rows=16)
    return open_version(tmp_path / "faces")

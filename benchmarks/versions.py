"""Write and read back 20,000 encoded 64 × 64 faces, against one file an image, in one run.

Figures wanted: write, reaching the disk, ≤ 1.5 s; read back verified ≤ 1 s. Encoding and decoding
are timed apart. Processor time is printed beside the wall time, for other work on the machine
slows the latter. The baseline writes every image as its own file with a JSON-lines manifest, makes
it reach the disk once at the end (``sync`` of the file system), and on reading compares digests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from mien.core.digest import canonical_json, digest_bytes
from mien.core.expression import EXPRESSIONS
from mien.core.manifest import Licence, Provenance
from mien.core.sample import Item, Sample
from mien.imaging.decode import decode
from mien.imaging.encode import encode_png
from mien.registry.read import open_version
from mien.registry.write import write_version


def make_images(count: int) -> list[np.ndarray]:
    """Draw smooth pictures with sensor noise: they compress about as faces do."""
    import cv2

    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(128, 900, (1500, 1500)), (0, 0), 9)
    ground = np.clip(ground + rng.normal(0, 2, ground.shape), 0, 255).astype(np.uint8)
    places = rng.choice((1500 - 64) ** 2, count, replace=False)  # no picture comes twice
    tops, lefts = np.divmod(places, 1500 - 64)
    return [
        np.ascontiguousarray(ground[y : y + 64, x : x + 64])
        for y, x in zip(tops, lefts, strict=True)
    ]


def make_items(encoded: list[bytes]) -> list[Item]:
    """Label them, eight expressions a subject, with two attributes."""
    return [
        Item(
            Sample(
                id=f"bench/{i:06d}",
                source="bench",
                subject=f"bench:{i // 8:05d}",
                expression=EXPRESSIONS[i % 8],
                file=f"{i:06d}.png",
                attributes={"age": str(20 + i % 50), "light": "even"},
                width=64,
                height=64,
            ),
            data,
        )
        for i, data in enumerate(encoded)
    ]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def write_files(items: list[Item], folder: Path) -> None:
    folder.mkdir()
    lines = []
    for item in items:
        name = item.sample.id.replace("/", "_") + ".png"
        (folder / name).write_bytes(item.image)
        lines.append(canonical_json([name, digest_bytes(item.image), item.sample]))
    (folder / "manifest.jsonl").write_bytes(b"\n".join(lines))
    os.sync()


def read_files(folder: Path) -> int:
    read = 0
    for line in (folder / "manifest.jsonl").read_bytes().splitlines():
        name, digest, _ = orjson.loads(line)
        data = (folder / name).read_bytes()
        assert digest_bytes(data) == digest
        read += 1
    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    args = parser.parse_args()
    images = make_images(args.images)
    encoded: list[bytes] = []
    encode_s, _ = timed(lambda: encoded.extend(encode_png(i) for i in images))
    items = make_items(encoded)
    size = sum(len(e) for e in encoded)
    print(f"{len(items)} images of 64 × 64, {size / 1e6:.1f} MB encoded, load {os.getloadavg()}")

    results: dict[str, list[tuple[float, float]]] = {}
    where = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        for number in range(args.rounds):
            version, files = where / f"version{number}", where / f"files{number}"
            os.sync()
            spent = timed(
                lambda folder=version: write_version(  # type: ignore[misc]
                    items,
                    folder,
                    name="bench",
                    provenance=Provenance("benchmark"),
                    licences={"bench": Licence("CC0-1.0")},
                )
            )
            results.setdefault("write", []).append(spent)
            results.setdefault("write files", []).append(
                timed(lambda folder=files: write_files(items, folder))  # type: ignore[misc]
            )
            results.setdefault("read", []).append(
                timed(lambda folder=version: list(open_version(folder).items()))  # type: ignore[misc]
            )
            results.setdefault("verify", []).append(
                timed(lambda folder=version: open_version(folder).verify())  # type: ignore[misc]
            )
            results.setdefault("read files", []).append(
                timed(lambda folder=files: read_files(folder))  # type: ignore[misc]
            )
        decode_s, _ = timed(lambda: [decode(e) for e in encoded])
        stored = sum(p.stat().st_size for p in (where / "version0").rglob("*") if p.is_file())
    finally:
        shutil.rmtree(where)

    best = {name: min(spent) for name, spent in results.items()}
    print(f"{'wall (processor) time':24}{'version':>18}{'files':>18}{'ratio':>8}{'wanted':>9}")
    for what, wanted in (("write", "≤ 1.5 s"), ("read", "≤ 1 s")):
        ours, theirs = best[what], best[f"{what} files"]
        cells = "".join(f"{f'{wall:.2f} s ({cpu:.2f})':>18}" for wall, cpu in (ours, theirs))
        print(f"{what:24}{cells}{theirs[0] / ours[0]:>7.1f}×{wanted:>9}")
    wall, cpu = best["verify"]
    print(f"{'verify everything':24}{f'{wall:.2f} s ({cpu:.2f})':>18}")
    print(f"{'encode (apart)':24}{encode_s:>8.2f} s   {len(items) / encode_s:.0f} images/s")
    print(f"{'decode (apart)':24}{decode_s:>8.2f} s   {len(items) / decode_s:.0f} images/s")
    print(f"size on disk {stored / 1e6:.1f} MB = {stored / size:.3f} × the encoded images")
    print(
        "all rounds:",
        {name: [round(wall, 2) for wall, _ in spent] for name, spent in results.items()},
    )


if __name__ == "__main__":
    main()

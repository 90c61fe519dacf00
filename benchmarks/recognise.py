"""What recognising costs: ONNX Runtime in this process, Triton, and the service before it.

``python -m benchmarks.recognise``: processor milliseconds of everything that takes part in
answering (service, Triton, its stubs), an image; latencies of 1, 8 and 32 clients.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mien.adapters.serving.local import LocalServing
from mien.adapters.serving.promotion import Promoter
from mien.adapters.serving.state import Served, State
from mien.adapters.triton.repository import HostSpec, hosted_name, render_model
from mien.adapters.triton.server import TritonHome, TritonServer
from mien.core.errors import Exhausted
from mien.core.expression import EKMAN_SIX
from mien.core.preprocess import PreprocessSpec
from mien.core.serving import Query
from mien.logs import configure
from mien.recognition.onnx_run import open_session
from mien.recognition.package import Golden, PackageSpec, write_package

WANTED_BATCHED, WANTED_SINGLE = 0.25, 2.0


@dataclass(frozen=True)
class Cost:
    """Processor and wall milliseconds an image, and latencies of a call."""

    cpu_ms: float
    wall_ms: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="small", help="small, seed, vgg16")
    parser.add_argument("--detector", default="none", help="none, haar, yunet")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is shown")
    parser.add_argument("--triton", type=Path, default=Path(".triton"))
    options = parser.parse_args()
    configure("warning", "json")  # a line a call would be part of what is measured
    home = TritonHome(options.triton)
    if home.missing:
        print(f"SKIPPED: {home.missing}; make triton")
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), home, options)


def run(folder: Path, home: TritonHome, options: argparse.Namespace) -> None:
    package = make_package(folder / "serving" / "packages" / "expression-1", options)
    spec, name = HostSpec(instances=1, delay_us=200, max_batch=64), hosted_name("expression", "1")
    repository = folder / "serving" / "repository"
    repository.mkdir()
    digest = render_model(repository, package, "1", name, "fp32", spec)
    server = TritonServer(home, repository, log_file=folder / "triton.log", interval_s=3600)
    promoter = Promoter(folder / "serving", None, server.client, spec=spec)
    promoter.file.write(State(Served("expression", "1", package.digest, name, "fp32", digest)))
    server.restore = promoter.restore
    server.start()
    try:
        serving = LocalServing(promoter, server.client, None)
        faces = np.random.default_rng(0).integers(0, 256, (options.images, 64, 64), np.uint8)
        batched(package, server, name, faces, options.repeats)
        single(package, server, serving, options)
    finally:
        server.stop()


def make_package(folder: Path, options: argparse.Namespace):
    """A network with random weights costs what a trained one does."""
    import torch

    from mien.recognition.files import SavedModel
    from mien.recognition.networks import build
    from mien.recognition.onnx_export import export_onnx
    from mien.recognition.spec import ClassifierSpec

    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = ClassifierSpec(options.network, EKMAN_SIX)
    exported = export_onnx(SavedModel(spec, build(spec).state_dict()))
    described = PackageSpec(
        EKMAN_SIX,
        False,
        PreprocessSpec(detector=options.detector),
        1.0,
        variants={"fp32": 0.0},
        features=exported.features,
    )
    golden = Golden(exported.golden_images, exported.golden)
    return write_package(folder, described, {"fp32": exported.model}, {"fp32": golden})


def batched(package, server, name, faces, repeats) -> None:
    """Batches of 32: what Triton adds to ONNX Runtime on one thread."""
    session = open_session(package.model().read_bytes())
    pieces = [faces[i : i + 32] for i in range(0, len(faces), 32)]
    ask = {
        "ONNX Runtime in process": lambda b: session.run(["probabilities"], {"images": b}),
        "Triton": lambda b: server.client.infer(name, b, timeout_s=60),
    }

    def measured(one: Callable[[Any], Any]) -> Cost:
        return best(repeats, lambda: cost(server, lambda: [one(b) for b in pieces], len(faces)))

    found = {what: measured(one) for what, one in ask.items()}
    print("batch 32, one caller          CPU-ms/image  wall-ms/image")
    for what, each in found.items():
        print(f"  {what:<27} {each.cpu_ms:12.3f} {each.wall_ms:14.3f}")
    added = found["Triton"].cpu_ms - found["ONNX Runtime in process"].cpu_ms
    verdict = "holds" if added <= WANTED_BATCHED else "MISSED"
    print(f"  Triton adds {added:.3f} CPU-ms an image (≤ {WANTED_BATCHED}: {verdict})\n")


def single(package, server, serving, options) -> None:
    """One picture a call: the parts, and all of it over the wire from another process."""
    from mien.imaging.decode import decode
    from mien.imaging.detect import make_detector
    from mien.imaging.preprocess import preprocess_faces
    from services.chassis.testing import running
    from services.serving.mount import mounted

    data = picture()
    spec = package.spec.preprocess
    image = decode(data)
    detector = make_detector(spec, None)
    prepared = preprocess_faces(image, spec, detector)
    faces = np.stack([p.image for p in prepared if p.image is not None])[:1]
    session = open_session(package.model().read_bytes())
    count = max(50, options.images // 4)

    def timed(one: Callable[[], object]) -> Cost:
        one()
        return best(
            options.repeats, lambda: cost(server, lambda: [one() for _ in range(count)], count)
        )

    parts = {
        "decode": timed(lambda: decode(data)),
        "detect, align": timed(lambda: preprocess_faces(image, spec, detector)),
        "model (ONNX Runtime)": timed(lambda: session.run(["probabilities"], {"images": faces})),
    }
    floor = sum(p.cpu_ms for p in parts.values())
    parts["Triton asked directly"] = timed(
        lambda: server.client.infer("expression-1", faces, timeout_s=60)
    )
    parts["serving in process"] = timed(lambda: serving.recognise(Query(data)))
    print(f"one picture a call ({image.shape[1]}×{image.shape[0]}, {len(prepared)} face)   CPU-ms")
    for what, each in parts.items():
        print(f"  {what:<27} {each.cpu_ms:12.3f}")
    with running("serving", mounted(serving), max_concurrent=32) as target:
        print("\nover the wire            CPU-ms/call   p50 ms   p99 ms  calls/s  refused")
        for clients in (1, 8, 32):
            found, refused = wired(server, target, data, clients, 4 * count * min(clients, 4))
            print(
                f"  {clients:>2} clients              {found.cpu_ms:12.3f} {found.p50_ms:8.2f} "
                f"{found.p99_ms:8.2f} {1000 / found.wall_ms:8.0f} {refused:8d}"
            )
            if clients == 1:
                beyond = found.cpu_ms - floor
                verdict = "holds" if beyond <= WANTED_SINGLE else "MISSED"
                print(
                    f"     {beyond:.2f} CPU-ms beyond decode, detection and model "
                    f"(≤ {WANTED_SINGLE:g}: {verdict})"
                )
        plain = timed(lambda: session.run(["probabilities"], {"images": faces}))
        print(f"  (plain ONNX Runtime in process, the model alone: {plain.cpu_ms:.3f} CPU-ms)")


def picture() -> bytes:
    """Render a face of the web demo, as JPEG."""
    from PIL import Image

    from mien.datasets.table import read
    from mien.imaging.decode import decode

    params = {"subjects": 1, "images_per_cell": 1, "seed": 0}
    item = next(iter(read("demo_web", None, params).items))
    file = io.BytesIO()
    Image.fromarray(decode(item.image)).save(file, "JPEG", quality=90)
    return file.getvalue()


def wired(server, target: str, data: bytes, clients: int, calls: int) -> tuple[Cost, int]:
    """Ask from another process; its own cost is its own."""
    context = multiprocessing.get_context("spawn")
    ready, mine, theirs = context.Event(), *context.Pipe()
    process = context.Process(target=ask, args=(target, data, clients, calls, ready, theirs))
    process.start()
    mine.recv()  # warm
    before, began = spent(server), time.perf_counter()
    ready.set()
    seconds, refused = mine.recv()
    wall, cpu = time.perf_counter() - began, spent(server) - before
    process.join()
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    each = 1000 / calls
    return Cost(cpu * each, wall * each, float(p50), float(p99)), refused


def ask(target, data, clients, calls, ready, pipe) -> None:
    """Be so many clients, each with a call under way at all times."""
    from mien.settings import Settings
    from mien.wire.channel import open_channel
    from mien.wire.serving_client import ServingClient

    with open_channel(target, Settings()) as channel, ThreadPoolExecutor(clients) as pool:
        client = ServingClient(channel)

        def one(_: int) -> float:
            began = time.perf_counter()
            try:
                client.recognise(Query(data))
            except Exhausted:
                return -1.0
            return time.perf_counter() - began

        list(pool.map(one, range(50 + 4 * clients)))
        pipe.send("warm")
        ready.wait()
        seconds = list(pool.map(one, range(calls)))
        pipe.send(([s for s in seconds if s >= 0], sum(s < 0 for s in seconds)))


def cost(server, work: Callable[[], object], images: int) -> Cost:
    before, began = spent(server), time.perf_counter()
    work()
    wall = time.perf_counter() - began
    return Cost((spent(server) - before) * 1000 / images, wall * 1000 / images)


def spent(server) -> float:
    """Processor seconds of this process, Triton and its stubs so far."""
    triton = psutil.Process(server.pid)
    found = [p.cpu_times() for p in (triton, *triton.children())]
    return time.process_time() + sum(float(t.user + t.system) for t in found)


def best(repeats: int, one: Callable[[], Cost]) -> Cost:
    """The machine is shared: the cheapest of some."""
    return min((one() for _ in range(repeats)), key=lambda c: c.cpu_ms)


if __name__ == "__main__":
    main()

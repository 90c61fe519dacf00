"""The examples, run as a reader would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.adapters.serving.local import LocalServing
from services.chassis.testing import running
from services.registry.mount import mount as mount_registry
from services.serving.mount import mounted

from .serving.conftest import TRITON, known_models, needs_triton, promoter, registered
from .serving.tiny import tiny_package

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["known_models", "promoter", "registered"]  # fixtures


def example(name, *arguments, cwd, **env):
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if not k.startswith("MIEN_")}
        | {"MIEN_CACHE": str(cwd / "cache"), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def photos(tmp_path):
    """A picture the network has an opinion on, and a file that is none."""
    image = np.random.default_rng(3).integers(0, 256, (40, 40), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "one.png"), image)
    (tmp_path / "two.png").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize("where", ["folder", "service"])
def test_the_tour_of_the_registry(where, tmp_path):
    """It ends, twice, with the same digests; in a folder and with a service."""
    with ExitStack() as stack:
        env = {}
        if where == "service":
            target = stack.enter_context(running("registry", mount_registry))
            env = {"MIEN_REGISTRY_TARGET": target}
        runs = [example("registry_tour", cwd=tmp_path, **env) for _ in range(2)]
    assert [r.returncode for r in runs] == [0, 0], runs[0].stderr
    assert "6 of 6 images are right; damage: none" in runs[0].stdout
    assert "added 0, removed 3, changed 0" in runs[0].stdout
    frozen = [[line for line in r.stdout.splitlines() if line.startswith("froze")] for r in runs]
    assert frozen[0] == frozen[1]
    assert (tmp_path / "registry").exists() == (where == "folder")


def test_the_typed_client_recognises(promoter, photos):
    """One photo by a call, several by a stream; what is no picture is told and does not end it."""
    promoter.promote("expression/1")
    serving = LocalServing(promoter, promoter.host, promoter.models)
    with running("serving", mounted(serving)) as target:
        one = example("recognise", "one.png", "--target", target, cwd=photos)
        both = example("recognise", "two.png", "one.png", "--target", target, cwd=photos)
        sure = example("recognise", "one.png", "--target", target, "--threshold=1", cwd=photos)
    assert one.returncode == 0, one.stderr
    assert "by expression/1, trained on rows-1" in one.stdout
    assert one.stdout.strip() in both.stdout
    assert (both.returncode, "two.png" in both.stderr) == (2, True)
    assert "not sure" in sure.stdout
    down = example("recognise", "one.png", "--target", "127.0.0.1:1", cwd=photos)
    assert (down.returncode, "is the service running" in down.stderr) == (2, True)


@needs_triton
def test_the_direct_client_prepares_itself(photos):
    """Its probabilities are the network's own for the face that training's code prepares."""
    from mien.adapters.triton.repository import HostSpec, render_front, render_model
    from mien.adapters.triton.server import TritonServer
    from mien.core.preprocess import PreprocessSpec
    from mien.imaging.decode import decode
    from mien.imaging.detect import make_detector
    from mien.imaging.preprocess import preprocess
    from mien.recognition.onnx_run import open_session

    package = tiny_package(photos / "package", 1, affect=True)
    repository = photos / "repository"
    repository.mkdir()
    render_model(repository, package, "1", "expression-1", "fp32", HostSpec())
    render_front(repository, package.spec, "expression", "expression-1", 64)
    server = TritonServer(TRITON, repository, log_file=photos / "log", canaries=dict)
    server.restore = lambda: [server.client.load(n) for n in ("expression-1", "expression")]
    server.start()
    try:
        asked = ("package", "one.png", "--triton", server.client.target)
        told = example("direct_to_triton", *asked, cwd=photos)
    finally:
        server.stop()
    assert told.returncode == 0, told.stderr
    spec = PreprocessSpec(size_px=16)
    picture = decode((photos / "one.png").read_bytes())
    face = preprocess(picture, spec, make_detector(spec, None)).image
    session = open_session(package.model().read_bytes())
    (chances,) = session.run(["probabilities"], {"images": face[np.newaxis]})
    best = package.spec.expressions[int(chances[0].argmax())]
    assert f"one.png: {best} {chances[0].max():.0%}" in told.stdout
    assert "valence" in told.stdout

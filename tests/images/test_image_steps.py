"""The images' builds, done in a clean folder; every service started from there, asked, stopped."""

from __future__ import annotations

import itertools
import signal
import socket
import sys
from contextlib import ExitStack, closing

import pytest

from mien.core.errors import MienError
from mien.core.expression import Expression
from mien.core.generation import FacePlan
from mien.core.serving import Query
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.generation_client import GenerationClient
from mien.wire.registry_client import RegistryClient
from mien.wire.serving_client import ServingClient
from mien.wire.training_client import TrainingClient
from tests.images.dockerfile import FILES
from tests.images.steps import built

pytestmark = pytest.mark.slow


def free_port():
    """A port that nobody has."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def services():
    """The services' image."""
    with built(FILES[0]) as image:
        took = ", ".join(f"{s:.0f} s {n.split()[2]}" for n, s in image.took_s.items())
        sys.stdout.write(f"\nservices: built in {took}; {image.size_mb():.0f} MB\n")
        yield image


def ask_registry(channel):
    """It has no versions yet."""
    assert list(RegistryClient(channel).versions()) == []


def ask_generation(channel):
    """It draws faces, with what Numba compiles on the way."""
    plan = FacePlan("affect", (Expression.ANGER, Expression.HAPPINESS), 2, {"size_px": 32}, seed=7)
    faces = list(itertools.islice(GenerationClient(channel).stream_faces(plan), 4))
    assert len({face.item.image for face in faces}) == 4


def ask_training(channel):
    """It has no jobs yet."""
    assert list(TrainingClient(channel).jobs().jobs) == []


def ask_serving(channel):
    """It says that nothing was promoted."""
    with pytest.raises(MienError) as refused:
        ServingClient(channel).recognise(Query(b"no picture"))
    assert refused.value.reason in ("NO_CHAMPION", "NOT_READY", "IMAGE_UNREADABLE")


ASK = {
    "registry": ask_registry,
    "generation": ask_generation,
    "training": ask_training,
    "serving": ask_serving,
}


@pytest.mark.parametrize("name", ASK)
def test_a_service_starts_serves_and_drains(services, name):
    """From its environment alone, as its user, writing to its data only; SIGTERM ends in 0."""
    address = f"127.0.0.1:{free_port()}"
    given = {
        "SERVICE": name,
        "MIEN_SERVER_ADDRESS": address,
        "MIEN_SERVER_METRICS_ADDRESS": "none",
        "MIEN_TRITON": "none",
    }
    with ExitStack() as stack:
        process = stack.enter_context(services.start(**given))
        stack.callback(process.kill)
        services.wait_healthy(process, **given)
        with open_channel(address, Settings()) as channel:
            ASK[name](channel)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert f"ready {name} {address}" in said
    assert services.healthy(**given).returncode == 1, "nobody is there any more"


EVERY_MODULE = """
import importlib, pkgutil, mien, services
names = [
    found.name
    for package in (mien, services)
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]
lost = {}
for name in names:
    if name.endswith("__main__"):
        continue
    try:
        importlib.import_module(name)
    except ImportError as error:
        lost[name] = str(error)
print(len(names), *lost)
"""


def test_every_module_finds_what_it_imports(services):
    """What only developers have installed is imported by nothing that ships; workers start."""
    done = services.run("python", "-c", EVERY_MODULE)
    count, *lost = done.stdout.split()
    assert int(count) > 200, done.stderr
    assert lost == ["mien.adapters.triton.model"]  # that one runs inside Triton
    late = services.run("python", "-c", "import psycopg, s3fs, onnxruntime, tritonclient.grpc")
    assert late.returncode == 0, late.stderr
    assert services.run("python", "-m", "mien", "--help").returncode == 0


def test_the_image_holds_no_tools_to_install_more(services):
    """No pip, no build tools, no tests: what is not there cannot be misused."""
    site = next((services.root / "opt/mien/lib").glob("python*/site-packages"))
    names = {p.name for p in site.iterdir()}
    assert {"mien", "services"} <= names
    assert not {"pip", "hatchling", "pytest", "tests", "benchmarks", "moto"} & names
    assert not list((site / "services").glob("image/*"))

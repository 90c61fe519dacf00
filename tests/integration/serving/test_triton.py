"""Triton from its wheel: what it serves, and what happens when parts of it die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mien.adapters.serving.promotion import Promoter
from mien.adapters.triton.client import TritonClient
from mien.adapters.triton.repository import HostSpec, hosted_name, render_model
from mien.adapters.triton.server import SHARED, TritonServer, remove_left_memory
from mien.core.errors import Exhausted, MienError, NotFound
from tests.integration.serving.conftest import TRITON, needs_triton, open_gate
from tests.integration.serving.tiny import SIDE, tiny_package

pytestmark = needs_triton
WAIT_S = 60.0


def until(holds):
    """Wait for something to hold."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def golden_answers(client, model, golden):
    """Whether a model answers as it should; False when it does not answer at all."""
    try:
        return golden.deviation(client.infer(model, golden.images, timeout_s=5)) < 1e-5
    except MienError:
        return False


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A watched Triton with one model of two instances."""
    folder = tmp_path_factory.mktemp("triton")
    package = tiny_package(folder / "package", affect=True)
    repository = folder / "repository"
    repository.mkdir()
    name = hosted_name("expression", "1")
    spec = HostSpec(instances=2, max_queue=2, max_batch=8)
    render_model(repository, package, "1", name, "fp32", spec)
    server = TritonServer(
        TRITON, repository, log_file=folder / "triton.log", interval_s=0.2, canaries=dict
    )
    golden = package.golden()
    server.restore = lambda: server.client.load(name)
    server.canaries = lambda: {name: golden}
    server.start()
    yield server, name, golden
    server.stop()


def test_it_answers_bit_for_bit_what_onnx_runtime_does(served):
    """Values of pictures that are not constant survive both ways, whatever the batch."""
    server, name, golden = served
    for count in (1, 3, 8):
        said = server.client.infer(name, golden.images[:count], timeout_s=5)
        assert set(said) == {"probabilities", "logits", "affect"}
        for output, answer in said.items():
            np.testing.assert_allclose(answer, golden.answers[output][:count], atol=1e-6)


def test_what_it_cannot_do_is_said_in_our_words(served):
    """Unknown models and wrong sizes are errors with a reason."""
    server, name, _ = served
    with pytest.raises(NotFound, match="MODEL_NOT_LOADED"):
        server.client.infer("nobody", np.zeros((1, SIDE, SIDE), np.uint8), timeout_s=5)
    with pytest.raises(MienError, match="IMAGE_SIZE"):
        server.client.infer(name, np.zeros((1, 5, 5), np.uint8), timeout_s=5)
    with pytest.raises(MienError, match="TRITON_UNAVAILABLE"):
        TritonClient("127.0.0.1:9").infer(name, np.zeros((1, 5, 5), np.uint8), timeout_s=1)


def test_a_full_queue_is_exhausted_and_counted(served):
    """Far more at once than the queue takes: the rest is told to come back, and when."""
    server, name, golden = served
    from concurrent.futures import ThreadPoolExecutor

    def ask(_):
        try:
            server.client.infer(name, golden.images[:4], timeout_s=30)
        except Exhausted as error:
            return error
        return None

    before = server.client.rejected
    stubs = [c for c in psutil.Process(server.pid).children() if c.status() != "zombie"]
    with ThreadPoolExecutor(32) as pool:
        for stub in stubs:  # the models hold their breath: nothing leaves the queue
            stub.suspend()
        try:
            asked = [pool.submit(ask, i) for i in range(32)]
            until(lambda: sum(a.done() for a in asked) >= 16)
        finally:
            for stub in stubs:
                stub.resume()
        answers = [a.result() for a in asked]
    refused = [e for e in answers if e is not None]
    assert 16 <= len(refused) < 32, "the accepted ones are answered"
    assert {e.reason for e in refused} == {"QUEUE_FULL"}
    assert float(refused[0].details["retry_after_s"]) > 0
    assert server.client.rejected - before >= len(refused)


def test_a_dead_stub_is_replaced(served):
    """Triton goes on calling itself ready; the canaries do not, and the model is loaded anew."""
    server, name, golden = served
    until(lambda: server.problem() is None)
    before = server.repairs
    stubs = [c for c in psutil.Process(server.pid).children() if c.status() != "zombie"]
    assert len(stubs) == 2
    stubs[0].kill()
    until(lambda: server.repairs > before and server.problem() is None)
    assert all(golden_answers(server.client, name, golden) for _ in range(6))


def test_a_dead_server_is_started_again(served):
    """Killed, it is back with its models, at the same address."""
    server, name, golden = served
    until(lambda: server.problem() is None)
    before, target = server.restarts, server.target
    os.kill(server.pid, 9)
    until(lambda: server.restarts > before and server.problem() is None)
    assert server.target == target
    assert golden_answers(server.client, name, golden)


def test_a_changed_model_file_is_refused(served, tmp_path):
    """The backend compares the file with the digest in its configuration."""
    server, _, _ = served
    name = hosted_name("expression", "66")
    package = tiny_package(tmp_path / "package", 6)
    render_model(server.repository, package, "66", name, "fp32", HostSpec())
    file = server.repository / name / "66" / "model.onnx"
    file.write_bytes(tiny_package(tmp_path / "other", 7).model().read_bytes())
    with pytest.raises(MienError, match="not the file that was written"):
        server.client.load(name)


def test_it_dies_with_the_process_that_started_it(tmp_path):
    """Killed with no chance to clean up, nothing of it is left, not even shared memory."""
    code = f"""
import os, sys
from pathlib import Path
from mien.adapters.triton.server import TritonHome, TritonServer
Path({str(tmp_path)!r}, "repository").mkdir()
home = TritonHome(Path({str(TRITON.folder)!r}))
server = TritonServer(home, Path({str(tmp_path)!r}, "repository"))
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_left_memory_is_removed_and_memory_in_use_is_not(served):
    """Other servers on the machine keep theirs."""
    left = SHARED / "triton_python_backend_shm_region_left-by-a-test"
    left.write_bytes(b"x")
    in_use = {p for p in SHARED.glob("triton_python_backend_shm_region_*") if p != left}
    remove_left_memory()
    assert not left.exists()
    server, name, golden = served
    assert golden_answers(server.client, name, golden)
    assert in_use


def test_promotion_and_rollback_behind_triton(registered, tmp_path):
    """The front changes hands with both models loaded; a rollback takes no loading."""
    home = tmp_path / "serving"
    server = TritonServer(TRITON, home / "repository", log_file=tmp_path / "triton.log")
    promoter = Promoter(home, registered, server.client, gate=open_gate)
    server.restore, server.canaries = promoter.recover, promoter.canaries
    server.start()
    try:
        packages = {seed: tiny_package(tmp_path / f"again{seed}", seed).golden() for seed in (1, 2)}
        promoter.promote("expression/1")
        assert golden_answers(server.client, "expression", packages[1])
        promoter.promote("expression/2")
        assert golden_answers(server.client, "expression", packages[2])
        assert golden_answers(server.client, "expression-1", packages[1])
        made = promoter.rollback()
        assert golden_answers(server.client, "expression", packages[1])
        assert made.took_s < 5.0
        os.kill(server.pid, 9)
        server.look_now()
        until(lambda: server.restarts == 1 and server.problem() is None)
        assert golden_answers(server.client, "expression", packages[1])
    finally:
        server.stop()
    assert not Path(f"/proc/{server.pid}/task").exists()

"""Promotions whose process is killed at random moments: which model is served afterwards?

``python -m tests.integration.serving.chaos --count 200`` (``make soak``) or a few in the suite.
Every round a process of its own starts serving, promotes or rolls back, and is killed with
SIGKILL at a random moment; with Triton, Triton goes with it. The next process must serve exactly
the old or the new model: state, alias and answers must name the same one. Most are killed while
they promote, some on their way there. A round costs half a second, with Triton (every fifth)
eight: its stubs start an interpreter each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

# Imported once: every round is a fork of this process, which itself opens nothing.
import mien.adapters.mlflow.environment  # noqa: F401  isort: skip
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import onnxruntime  # noqa: F401
import sqlalchemy.orm

from mien.adapters.mlflow.models import MlflowModels
from mien.adapters.serving.promotion import Promoter
from mien.adapters.triton.onnx_host import OnnxHost
from mien.adapters.triton.repository import fronted
from mien.adapters.triton.server import TritonHome, TritonServer
from mien.core.errors import MienError
from mien.core.serving import GateCheck
from mien.recognition.package import read_package
from tests.integration.serving.tiny import tiny_package

sqlalchemy.orm.configure_mappers()  # what is left of the second that a first client costs
FORK = multiprocessing.get_context("fork")
EARLY = 0.2  # share of the rounds that are killed before they promote
TRITON = TritonHome(Path(__file__).resolve().parents[3] / ".triton")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--triton-every", type=int, default=5, help="0 = never")
    options = parser.parse_args()
    if TRITON.missing and options.triton_every:
        sys.stderr.write(f"SKIPPED Triton: {TRITON.missing}; make triton\n")
        options.triton_every = 0
    with tempfile.TemporaryDirectory() as folder:
        told = run(Path(folder), options)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.exit(bool(told["failures"]))


def run(folder, options):
    """Do the rounds; returns what was counted, and every failure."""
    dice = random.Random(options.seed)
    told = {"rounds": 0, "killed": 0, "finished": 0, "changed": 0, "triton": 0, "failures": []}
    asked(prepare, folder)
    for act in ("expression/1", "expression/2"):
        asked(act_once, folder, act, False)
    seconds = {False: measured(folder, "expression/1", False)}
    if options.triton_every:
        seconds[True] = measured(folder, "rollback", True)
    before = asked(look, folder, False)["alias"]
    for index in range(options.count):
        triton = bool(options.triton_every) and index % options.triton_every == 0
        act = dice.choice(["expression/1", "expression/2", "rollback"])
        killed = one_round(folder, act, triton, seconds[triton], dice)
        found = asked(look, folder, triton)
        new = {"expression/1": "1", "expression/2": "2"}.get(act)
        told["rounds"] += 1
        told["killed"] += killed
        told["finished"] += not killed
        told["triton"] += triton
        told["changed"] += found["alias"] != before
        allowed = {before, new} if new else {"1", "2"}
        same = {found[k] for k in ("alias", "state", "answers", "front")}
        if len(same) != 1 or found["alias"] not in allowed or found["moving"]:
            told["failures"].append({"round": index, "act": act, "before": before, **found})
        before = found["alias"]
    return told


def measured(folder, act, triton):
    """Seconds that a process takes to serve, and then to promote."""
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=act_once, args=(theirs, folder, act, triton))
    began = time.perf_counter()
    process.start()
    mine.recv()
    serving = time.perf_counter()
    mine.recv()
    process.join()
    return serving - began, time.perf_counter() - serving


def one_round(folder, act, triton, seconds, dice):
    """Start a process and kill it; returns whether it was killed before it had ended."""
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=act_once, args=(theirs, folder, act, triton))
    process.start()
    theirs.close()
    to_serve, to_promote = seconds
    if dice.random() < EARLY:
        process.join(dice.uniform(0.0, to_serve))
    else:
        with contextlib.suppress(EOFError):
            mine.recv()
        process.join(dice.uniform(0.0, 1.5 * to_promote))
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed


def asked(what, *given):
    """Run something in a fork and return what it sends first."""
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=what, args=(theirs, *given))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        raise RuntimeError(f"{what.__name__} failed") from None
    finally:
        process.join()


def registry(folder):
    return MlflowModels(f"sqlite:///{folder}/mlflow.db")


def prepare(pipe, folder):
    """Register two models."""
    for seed in (1, 2):
        registry(folder).register("expression", tiny_package(folder / f"p{seed}", seed).folder)
    pipe.send(True)


def gate(challenger, variant, champion):
    """Let everybody through: it is not the gate that is looked at."""
    return (GateCheck("golden", True, "not looked at"),)


def served(folder, triton, stack):
    """Start serving as the service does, recovery included."""
    home = folder / "serving"
    repository = home / "repository"
    server = TritonServer(TRITON, repository, log_file=folder / "triton.log") if triton else None
    host = server.client if server else OnnxHost(repository)
    promoter = Promoter(home, registry(folder), host, gate=gate)
    stack.enter_context(promoter.file.owned())
    if server is None:
        promoter.recover()
    else:
        server.restore, server.canaries = promoter.recover, promoter.canaries
        stack.callback(server.stop)
        server.start()
    return promoter


def act_once(pipe, folder, act, triton):
    """Serve, then promote or roll back; whoever started this may kill it at any moment."""
    with contextlib.ExitStack() as stack:
        promoter = served(folder, triton, stack)
        pipe.send("serves")
        try:
            promoter.rollback() if act == "rollback" else promoter.promote(act)
        except MienError as error:
            if error.reason != "NO_EARLIER_CHAMPION":
                raise
        pipe.send("done")


def look(pipe, folder, triton):
    """Serve again, and say which model it is by everything that could say so."""
    with contextlib.ExitStack() as stack:
        promoter = served(folder, triton, stack)
        state = promoter.state
        answers = "neither"
        for version in ("1", "2"):
            golden = read_package(folder / f"p{version}").golden()
            said = promoter.host.infer("expression", golden.images, timeout_s=20)
            if golden.deviation(said) < 1e-5:
                answers = version
        pipe.send(
            {
                "alias": promoter.models.get("expression@champion").lineage.model_version,
                "state": state.champion.version if state.champion else "",
                "moving": state.moving.version if state.moving else "",
                "front": fronted(promoter.repository, "expression").rpartition("-")[2],
                "answers": answers,
            }
        )
        os.kill(os.getpid(), signal.SIGKILL)  # Triton ends with it; to wait for that takes seconds


if __name__ == "__main__":
    main()

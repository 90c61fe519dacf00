"""Promotions on a cluster whose process is killed at random moments, and what others make of it.

``python -m tests.integration.serving.rollout_chaos --count 50``. In every round a process promotes
or rolls back over three replicas, and is killed with SIGKILL at a random moment. Another one, that
has nothing of its own, then looks: once it has settled what was left, alias, front and every
replica's answers must name the same model, the old or the new one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from mien.adapters.serving.cluster import ClusterPromoter, Pace
from mien.adapters.serving.store import ModelStore
from mien.adapters.triton.fleet import TritonFleet
from mien.adapters.triton.rollout import TritonRollout
from mien.core.errors import MienError
from mien.recognition.package import read_package
from tests.integration.serving.chaos import FORK, asked, gate, prepare, registry
from tests.integration.serving.rollout_stand_in import Rollout

PACE = Pace(look=0.1, beat=0.2, stale=1.5, rollout=60.0, names=60.0)
SETTLED_S = 120.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = run(Path(folder), options)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.exit(bool(told["failures"]))


def run(folder, options):
    """Do the rounds; returns what was counted, and every failure."""
    dice = random.Random(options.seed)
    asked(prepare, folder)
    mine, theirs = FORK.Pipe()
    cluster = FORK.Process(target=play_cluster, args=(theirs, folder), daemon=True)
    cluster.start()  # it alone keeps channels; what is forked later comes from here
    mine.recv()
    told = {"rounds": 0, "killed": 0, "changed": 0, "taken_over": 0, "failures": []}
    for act in ("expression/1", "expression/2", "expression/1"):
        took_s = one_round(folder, act, None)[0]
    before = asked(look, folder)["alias"]
    for index in range(options.count):
        new = "2" if before == "1" else "1"
        act = dice.choice([f"expression/{new}", f"expression/{new}", "rollback"])
        told["killed"] += one_round(folder, act, dice.uniform(0.0, 1.1 * took_s))[1]
        found = asked(look, folder)
        told["rounds"] += 1
        told["taken_over"] += found.pop("left")
        told["changed"] += found["alias"] != before
        if len(set(found.values())) != 1:
            told["failures"].append({"round": index, "act": act, "before": before, **found})
        before = found["alias"]
    mine.send("end")
    cluster.join(10)
    return told


def one_round(folder, act, kill_after_s):
    """Start a process; kill it that long after it begins to promote, None = never.

    Returns how long it promoted, and whether it was killed.
    """
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=act_once, args=(theirs, folder, act))
    process.start()
    theirs.close()
    mine.recv()
    began = time.perf_counter()
    process.join(kill_after_s)
    killed = process.is_alive()
    process.kill()
    process.join()
    return time.perf_counter() - began, killed


def play_cluster(pipe, folder):
    """The Deployment, its controller and its Pods, in a process of their own."""
    rollout = Rollout(folder)
    names = folder / "addresses"

    def publish():
        while True:
            new = names.with_suffix(".new")
            new.write_text("\n".join(rollout.addresses()))
            new.replace(names)
            if pipe.poll(0.05):
                return

    names.write_text("")
    pipe.send(True)
    publish()
    rollout.close()


@contextlib.contextmanager
def promoting(folder):
    """A replica of the serving service that starts with nothing."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        store = ModelStore(str(folder / "models"))
        api = TritonRollout(
            "mien/triton", kubeconfig=folder / "kubeconfig.json", interval_s=0.05, away_s=10.0
        )
        fleet = TritonFleet("", resolve=lambda: (folder / "addresses").read_text().split())
        made = ClusterPromoter(
            Path(home), registry(folder), fleet, api, store, gate=gate, pace=PACE
        )
        made.recover()
        yield made
        made.stop()


def act_once(pipe, folder, act):
    """Promote or roll back, once nothing is under way; whoever started this may kill it."""
    with promoting(folder) as promoter:
        until(lambda: not promoter.rollout.look().journal)
        pipe.send("begins")
        try:
            promoter.rollback() if act == "rollback" else promoter.promote(act)
        except MienError as error:
            if error.reason not in ("NO_EARLIER_CHAMPION", "PROMOTION_RUNNING"):
                raise


def look(pipe, folder):
    """Settle what is left, then say which model it is by everything that could say so."""
    with promoting(folder) as promoter:
        left = bool(promoter.rollout.look().journal)
        until(lambda: settled(promoter))
        seen, alias = promoter.follower.follow()
        pipe.send(
            {
                "alias": alias,
                "state": promoter.state.champion.version,
                "front": promoter.follower.catalogue(seen).champion.version,
                "answers": answering(promoter, folder, "expression"),
                "hosted": answering(promoter, folder, f"expression-{alias}"),
                "left": left,
            }
        )
    os.kill(os.getpid(), signal.SIGKILL)


def settled(promoter):
    """Nothing under way, the front where the alias is, every replica rolled over."""
    seen, alias = promoter.follower.follow()
    front = promoter.follower.catalogue(seen).champion
    return not seen.journal and seen.rolled and front is not None and front.version == alias


def answering(promoter, folder, name):
    """The version that every replica answers as, under a name."""
    promoter.fleet.refresh()
    for version in ("1", "2"):
        golden = read_package(folder / f"p{version}").golden()
        if not promoter.fleet.ask_each(name, golden, timeout_s=20):
            return version
    return "neither"


def until(holds):
    """Wait for something to hold."""
    deadline = time.monotonic() + SETTLED_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("it was not settled")
        time.sleep(0.05)


if __name__ == "__main__":
    main()

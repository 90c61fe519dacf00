"""A mien whose verbs of the training service take no time: the real worker, no numeric libraries.

A trial's plan is JSON: ``{"key", "steps", "step_s", "exit", "say"}``. It counts to ``steps``,
keeps its count in ``checkpoint`` beside the plan when asked to stop, and goes on from it.
A project's params.yaml is ``trials: [{...}, …]``, its prepared data nothing.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from pathlib import Path

import yaml

from mien.cli.progress import kept
from mien.cli.signals import STOP, listen
from mien.cli.worker import serve
from mien.core.digest import digest_of
from mien.core.errors import EXIT_DONE, EXIT_USER
from mien.core.hooks import Progress, no_progress


def run(argv):
    """Run one command line, as ``mien.cli.main.run`` does."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--params", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--done", type=Path)
    parser.add_argument("verb")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--write-plans", type=Path)
    try:
        given = parser.parse_args(argv)
        code = VERBS[given.verb](given)
    except KeyboardInterrupt:
        return STOP.exit_code
    except argparse.ArgumentError as error:
        sys.stderr.write(f"mien: error: {error} [ARGUMENTS]\n")
        return EXIT_USER
    if code == EXIT_DONE and given.done:
        given.done.touch()
    return code


def trial(given):
    plan = Path(given.name)
    return count(json.loads(plan.read_text()), plan.parent, plan.parent / "result.json")


def count(wanted, folder, result):
    """Count; ``twice`` is left where two were at it at once."""
    if result.exists():
        return EXIT_DONE
    with (folder / "at_work").open("a") as at_work:
        try:
            fcntl.flock(at_work, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of however this ends
        except BlockingIOError:
            (folder / "twice").touch()
        return count_on(wanted, folder, result)


def count_on(wanted, folder, result):
    checkpoint = folder / "checkpoint"
    step = int(checkpoint.read_text()) if checkpoint.exists() else 0
    sys.stdout.write(f"from {step} {wanted.get('say', '')}\n")
    if wanted.get("pids"):
        with (folder / "pids").open("a") as file:
            file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
    progress = kept(no_progress, Path(os.environ["MIEN_PROGRESS_FILE"]))
    while step < wanted.get("steps", 1):
        if STOP.cancelled():
            write(checkpoint, str(step))
            return STOP.exit_code
        time.sleep(wanted.get("step_s", 0.0))
        step += 1
        progress(Progress(step, wanted.get("steps", 1), "steps", "fit", {"step": float(step)}))
    if wanted.get("exit"):
        sys.stderr.write("mien: error: it was planned so [PLANNED]\nmien: hint: plan better\n")
        return wanted["exit"]
    write(result, json.dumps({"key": wanted.get("key"), "steps": step}))
    return EXIT_DONE


def write(file, text):
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(file)


def sweep(given):
    trials = yaml.safe_load(given.params.read_text())["trials"]
    cache = Path(os.environ["MIEN_CACHE"]) / "trials"
    keys = [digest_of(t) for t in trials]
    if given.write_plans:
        for key, each in zip(keys, trials, strict=True):
            (cache / key).mkdir(parents=True, exist_ok=True)
            write(cache / key / "plan.json", json.dumps({**each, "key": key}))
        plans = [
            {
                "key": k,
                "title": k,
                "plan": f"{cache / k}/plan.json",
                "done": f"{cache / k}/result.json",
            }
            for k in keys
        ]
        given.write_plans.write_text(json.dumps(plans))
        return EXIT_DONE
    results = [json.loads((cache / key / "result.json").read_text()) for key in keys]
    out = given.project / "data" / "sweep"
    out.mkdir(parents=True, exist_ok=True)
    write(out / "trials.json", json.dumps({"results": results, "set": given.set}))
    return EXIT_DONE


def train_generator(given):
    wanted = yaml.safe_load(given.params.read_text())["generators"][given.name]
    out = given.project / "data" / "train_generator" / given.name
    out.mkdir(parents=True, exist_ok=True)
    return count(wanted, out, out / "generator.json")


VERBS = {"trial": trial, "sweep": sweep, "train-generator": train_generator}


def main():
    if sys.argv[1] != "worker":  # alone in its Pod: one verb, then gone
        listen(STOP)
        return run(sys.argv[1:])
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["worker"])
    parser.add_argument("--grace-s", type=float)
    listen(STOP)
    return serve(run, cancelled=STOP.cancelled, grace_s=parser.parse_args().grace_s)


if __name__ == "__main__":
    sys.exit(main())

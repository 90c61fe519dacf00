"""102 real people, neutral or smiling: does synthetic data help with 6, 12 or 24 of them?

Five repeated splits for each size of the training set. Every image, real and synthetic, is aligned
by the same detector; the hand-placed landmarks serve fitting only; synthetic faces are made of
the training people's neutral photos only, and invented ones are the other pool.

The table gives the gain of each arm over r0 on the own-test people, averaged over splits, with an
interval over training draws and people (``evaluation.repeated_splits``).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from mien.compose import make_context
from mien.evaluation.repeated_splits import repeated_splits_interval
from mien.params.project import load_params
from mien.stages.context import Context
from mien.stages.evaluate import read_evidence
from mien.stages.pipeline import run_stage

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = (6, 12, 24)


def project(folder: Path, use: int, seed: int) -> Context:
    """Open the project of one size and one split."""
    params = load_params(
        ROOT / "params" / "london.yaml", [f"split.use={use}", f"split.seed={seed}"]
    )
    return make_context(params, root=folder / f"people{use}-split{seed}")


def shared(folder: Path) -> Context:
    """Make what no split changes: the people's pictures and the invented pool."""
    context = project(folder, max(PEOPLE), 0)
    steps = [("ingest", "london"), ("split", ""), ("synthesise", "invented")]
    steps += [("preprocess", "london"), ("preprocess", "invented")]
    for verb, name in steps:
        if not (context.folder(verb, name) / "version.json").exists():
            run_stage(context, verb, **({"name": name} if name else {}))
    return context


def one(first: Context, context: Context) -> dict[str, dict[str, float]]:
    """Run one split to its end; returns arm → own-test person → accuracy, averaged over seeds."""
    for verb, name in (("ingest", "london"), ("preprocess", "london"), ("preprocess", "invented")):
        if context.root != first.root and not context.folder(verb, name).exists():
            shutil.copytree(first.folder(verb, name), context.folder(verb, name))
    run_stage(context, "split")
    if not (context.folder("preprocess", "photos") / "version.json").exists():
        run_stage(context, "synthesise", name="photos")
        run_stage(context, "preprocess", name="photos")
    for verb in ("sweep", "evaluate", "decide"):
        run_stage(context, verb)
    own = read_evidence(context)["steps"].own
    return {
        arm.name: dict(zip(own.subjects, scores.mean(axis=0).tolist(), strict=True))
        for arm, scores in own.scores.items()
    }


def row(runs: list[dict[str, dict[str, float]]], arm: str) -> str:
    """Accuracy of an arm, and its gain over r0 with a 95 % interval."""
    accuracy = np.mean([np.mean(list(r[arm].values())) for r in runs])
    if arm == "r0":
        return f"{100 * accuracy:>7.1f}%"
    gains = [{p: score - r["r0"][p] for p, score in r[arm].items()} for r in runs]
    found = repeated_splits_interval(gains)
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * accuracy:>7.1f}%  {100 * found.estimate:+.1f} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    """Run all sizes and splits and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/london"))
    parser.add_argument("--splits", type=int, default=5)
    given = parser.parse_args()
    first = shared(given.folder)
    print(f"{'people':>6}  {'arm':<22} {'accuracy':>8}  gain over r0 (95 % interval), points")
    for use in PEOPLE:
        contexts = [project(given.folder, use, seed) for seed in range(given.splits)]
        runs = [one(first, c) for c in contexts]
        (given.folder / f"people{use}.json").write_text(json.dumps(runs, indent=1))
        for arm in runs[0]:
            print(f"{use:>6}  {arm:<22} {row(runs, arm)}", flush=True)
    run_stage(first, "report")
    first.tracker.flush(60)
    print(f"report of the first split: {first.root / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()

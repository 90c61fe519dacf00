"""A real null: r0 trained twenty times over with other seeds, compared with itself.

Nothing differs between the arms but the seeds, so every "helps" is a false one and every interval
should hold zero. Run it where the demo was run: it uses the demo's faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mien.compose import make_context
from mien.core.split import Arm
from mien.evaluation.evidence import subject_scores
from mien.evaluation.null_check import null_check
from mien.params.project import load_params
from mien.stages.plans import plan_trials
from mien.stages.split import read_splits
from mien.stages.sweep import load_sets, run_trials
from mien.stages.sweep_tracking import role_predictions


def main() -> None:
    """Train r0 with sets × seeds new seeds and print how often it seemed to beat itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="where the demo was run")
    parser.add_argument("--sets", type=int, default=20)
    given = parser.parse_args()
    params = load_params(given.project / "params.yaml")
    seeds = params.sweep.seeds
    many = {"seeds": given.sets * seeds, "first_seed": 1000, "protocols": ["steps"]}
    params = params.model_copy(update={"sweep": params.sweep.model_copy(update=many)})
    context = make_context(params, root=given.project)
    sets = load_sets(context)
    planned = [p for p in plan_trials(params, read_splits(context), sets) if p.plan.arm == Arm()]
    folders = run_trials(context, planned, sets)
    rows = []
    for trial in planned:
        said = role_predictions(trial, folders[trial.plan.key])["test"]
        people = [
            sets[r.dataset].manifest.samples[sets[r.dataset].row[r.sample]].subject or ""
            for r in trial.roles["test"]
        ]
        rows.append(subject_scores(said.logits.argmax(axis=1) == said.labels, people)[1])
    scores = np.stack(rows).reshape(given.sets, seeds, -1)
    found = null_check(scores, min_effect=params.decide.min_effect, alpha=params.decide.alpha)
    print(
        f"r0 against r0: {found.comparisons} comparisons, {seeds} seeds, {scores.shape[2]} people"
    )
    for name, count in (("helps (false)", found.helps), ("none", found.none)):
        print(f"{name:<22} {count:>4}")
    print(f"{'undecided':<22} {found.undecided:>4}")
    print(
        f"false help rate        {found.helps / found.comparisons:.3f} "
        f"(95 % {found.help_low:.3f} to {found.help_high:.3f})"
    )
    print(
        f"intervals holding zero {found.covered / found.comparisons:.3f} "
        f"(95 % {found.coverage_low:.3f} to {found.coverage_high:.3f})"
    )
    spread = 100 * float(np.std(found.differences))
    print(f"spread of the differences {spread:.2f} points")


if __name__ == "__main__":
    main()

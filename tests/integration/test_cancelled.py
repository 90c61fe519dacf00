"""Asked to stop: the trial that runs in this very process stops too, and goes on later."""

from __future__ import annotations

from itertools import count

import pytest

from mien.compose import make_context
from mien.core.errors import Interrupted
from mien.params.project import load_params
from mien.stages import sweep


def test_an_inline_trial_hears_that_it_should_stop(project):
    """Stopped at its third step it leaves a checkpoint and no result; the sweep then goes on."""
    project.until("ingest", "split", "preprocess")
    asked = count(1)
    context = make_context(
        load_params(project.root / "params.yaml"), cancelled=lambda: next(asked) > 3
    )
    with pytest.raises(Interrupted):
        sweep.run(context)
    assert not list(project.cache.glob("trials/*/result.json"))
    (state,) = project.cache.glob("trials/*/checkpoint")
    project.done("sweep")
    assert (state.parent / "result.json").exists()
    assert not state.exists()

"""A real sweep as Jobs of a real control plane: four GPUs, twelve trials, the same result."""

from __future__ import annotations

import copy as copying
import json

import pytest

from mien.adapters.executors.carried_tasks import CarryingExecutor
from mien.adapters.kubernetes.api import KubernetesApi
from mien.adapters.kubernetes.executor import KubernetesJobExecutor
from mien.adapters.kubernetes.profile import KubernetesProfile
from mien.stages.pipeline import run_stage
from tests.contract.control_plane import control_plane, pytest_terminal_summary

from .conftest import make_context

__all__ = ["control_plane", "pytest_terminal_summary"]


def twelve(params):
    """Two baselines and two pools, three seeds each."""
    params = copying.deepcopy(params)
    kept = {k: v for k, v in params["sweep"].items() if k not in ("synthetic_only", "shuffled")}
    params["sweep"] = kept | {"ratios": [1], "seeds": 3, "protocols": ["steps"]}
    return params


@pytest.mark.slow
def test_a_sweep_on_a_cluster_says_the_same(control_plane, copy, smoke_params, tmp_path):
    """Every prediction to the byte; plans and results carried; never more Pods than GPUs.

    The Pods run `python -m mien trial` with a cache of their own, as on another node, and need a
    GPU each, of which the node has four.
    """
    root, cache = copy
    params = twelve(smoke_params)
    run_stage(make_context(root, cache, params), "sweep")
    here = (root / "data/sweep/predictions.parquet").read_bytes()

    node = {"MIEN_CACHE": str(tmp_path / "node"), "MIEN_TRACKING_URI": "none"}
    profile = KubernetesProfile(
        kubeconfig=control_plane.kubeconfig,
        namespace=control_plane.make_namespace(),
        image="mien",
        slots=12,
        work={"gpus": 1, "cpu": "1", "memory": "1Gi"},
        env=node | {"OMP_NUM_THREADS": "1"},
    )
    jobs = KubernetesJobExecutor(profile, KubernetesApi(profile, oldest=control_plane.oldest))
    carried = CarryingExecutor(jobs, str(tmp_path / "work"))
    control_plane.kubelet.most_running = 0
    context = make_context(root, tmp_path / "cache", params, executor=carried)
    run_stage(context, "sweep")
    assert (root / "data/sweep/predictions.parquet").read_bytes() == here
    assert len(json.loads((root / "data/sweep/trials.json").read_text())) == 12
    assert 1 <= control_plane.kubelet.most_running <= 4
    ended = control_plane.jobs(profile.namespace)
    assert [j["status"].get("succeeded") for j in ended] == [1] * 12

"""What is applied again after a promotion must not take it back."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from mien.adapters.triton.rollout import TritonRollout
from tests.integration.serving.rollout_stand_in import triton_manifest

PROMOTED = "s3://mien/models/0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("how", [[], ["--server-side", "--force-conflicts"]], ids=" ".join)
def test_applying_the_manifest_again_leaves_the_champion(control_plane, namespace, how):
    """Promotion owns one entry of `env`, which stands in no manifest."""
    if shutil.which("kubectl") is None:
        pytest.skip("SKIPPED: kubectl is not installed")
    manifest = triton_manifest()
    manifest["metadata"]["namespace"] = namespace
    manifest["spec"]["replicas"] = 1
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    for port in container["ports"]:
        port["protocol"] = "TCP"  # an old server cannot merge ports without it
    apply(control_plane, manifest, how)
    rollout = TritonRollout(f"{namespace}/triton", kubeconfig=control_plane.kubeconfig)
    assert rollout.look().models == ""
    rollout.change("", models=PROMOTED, journal="one")
    container["args"].append("--log-verbose=0")
    apply(control_plane, manifest, how)
    seen = rollout.look()
    assert (seen.models, seen.journal) == (PROMOTED, "one")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/triton"
    (there,) = control_plane.rest.get(path)["spec"]["template"]["spec"]["containers"]
    assert there["args"] == container["args"]
    control_plane.rest.call("DELETE", path)


def apply(plane, manifest, how):
    """Apply as people do."""
    done = subprocess.run(
        ["kubectl", f"--kubeconfig={plane.kubeconfig}", "apply", *how, "-f", "-"],
        input=json.dumps(manifest),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

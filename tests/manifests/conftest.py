"""Rendered manifests: every overlay, and every combination of components that is tested."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

K8S = Path(__file__).resolve().parents[2] / "k8s"
COMPONENTS = sorted(p.name for p in (K8S / "components").iterdir() if p.name != "release")
OLDEST_KUBECTL = (1, 27)  # components render there; Debian 12's own, 1.20, does not know them


def kubectl_missing():
    """Why nothing can be rendered, or None."""
    if shutil.which("kubectl") is None:
        return "kubectl is not installed"
    said = subprocess.run(
        ["kubectl", "version", "--client"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"v(\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < OLDEST_KUBECTL:
        return f"kubectl is older than {'.'.join(map(str, OLDEST_KUBECTL))}: {said.strip()!r}"
    return None


@pytest.fixture(autouse=True)
def _kubectl():
    if why := kubectl_missing():
        pytest.skip(why)


def kustomize(folder):
    """Render a folder; returns its documents."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def combination(folder, components):
    """Render the base with some components, and the release."""
    names = [*components, "release"]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(K8S, folder / "k8s", dirs_exist_ok=True)
    mix = folder / "k8s" / "overlays" / "mix"
    mix.mkdir(exist_ok=True)
    (mix / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": ["../../base"],
                "components": [f"../../components/{n}" for n in names],
            }
        )
    )
    return kustomize(mix)


TESTED = [c for n in range(3) for c in itertools.combinations(COMPONENTS, n)]
TESTED.append(tuple(COMPONENTS))


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """The base with every component, rendered once."""
    if why := kubectl_missing():
        pytest.skip(why)
    return combination(tmp_path_factory.mktemp("all"), COMPONENTS)


def workloads(documents):
    """Deployments and StatefulSets."""
    return [d for d in documents if d["kind"] in ("Deployment", "StatefulSet")]


def containers(documents):
    """(workload, container) of all workloads, init containers too."""
    for found in workloads(documents):
        pod = found["spec"]["template"]["spec"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield found, container

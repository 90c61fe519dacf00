"""Rendered manifests: every overlay, and every combination of components that is tested."""

import functools

import pytest

from k8s.check.rendering import (
    COMPONENTS,
    K8S,
    OVERLAYS,
    TESTED,
    CannotRender,
    documents,
    find_renderer,
    render_combination,
)

__all__ = ["COMPONENTS", "K8S", "OVERLAYS", "TESTED"]


@functools.cache
def renderer():
    """The tool that renders, or a skipped test that says why there is none."""
    try:
        return find_renderer()
    except CannotRender as why:
        pytest.skip(f"SKIPPED render: {why}")


def kustomize(folder):
    """Render a folder; returns its documents."""
    return documents(renderer()(folder))


def combination(scratch, components):
    """Render the base with some components, and the release; returns the documents."""
    return documents(render_combination(renderer(), scratch, components))


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """The base with every component, rendered once."""
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

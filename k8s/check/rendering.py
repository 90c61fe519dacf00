"""Render overlays and combinations of components. The one list of what is checked is here."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).resolve().parents[1]
COMPONENTS = tuple(sorted(p.name for p in (K8S / "components").iterdir() if p.name != "release"))
OVERLAYS = tuple(sorted(p.name for p in (K8S / "overlays").iterdir()))
# None, each, each pair, and all: a component that leans on another shows when it is alone.
TESTED = (*(c for n in range(3) for c in itertools.combinations(COMPONENTS, n)), COMPONENTS)
OLDEST = {"kubectl": (1, 27), "kustomize": (5, 0)}  # kubectl 1.27 holds kustomize 5.0
# The parser in C is ten times as fast; both build plain values only.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ADVICE = "Debian 12's own kubectl, 1.20, cannot render components; take one from the cluster's side"


class CannotRender(Exception):
    """No tool here renders; the message says why."""


class Broken(Exception):
    """A folder does not render; the message is the tool's."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """A tool that renders kustomize folders.

    Attributes:
        name: and version, for people.
        command: to which the folder is appended.
    """

    name: str
    command: tuple[str, ...]

    def __call__(self, folder: Path) -> str:
        """Render a folder to YAML.

        Raises:
            Broken: with what the tool says of it.
        """
        done = subprocess.run(
            [*self.command, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Broken(done.stderr.strip() or f"{self.name} ended with {done.returncode}")
        return done.stdout


def find_renderer() -> Renderer:
    """Find kubectl or kustomize, new enough.

    Raises:
        CannotRender: naming what was found, and what is needed.
    """
    refused = []
    asked = {
        "kubectl": (("kubectl", "version", "--client"), ("kubectl", "kustomize")),
        "kustomize": (("kustomize", "version"), ("kustomize", "build")),
    }
    for tool, (version, command) in asked.items():
        if shutil.which(tool) is None:
            refused.append(f"{tool} is not on the PATH")
            continue
        found = _version(version)
        oldest = ".".join(map(str, OLDEST[tool]))
        if found is None:
            refused.append(f"{tool} does not tell its version")
        elif found < OLDEST[tool]:
            have = ".".join(map(str, found))
            refused.append(f"{tool} is {have}, older than {oldest} ({ADVICE})")
        else:
            return Renderer(f"{tool} {'.'.join(map(str, found))}", command)
    raise CannotRender("; ".join(refused))


def _version(command: Sequence[str]) -> tuple[int, int] | None:
    """Ask a tool for its major and minor version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Old ones print a Go struct (GitVersion:"v1.20.2"), new ones a line a component; ours is first.
    found = re.search(r"v(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def render_combination(
    render: Renderer, scratch: Path, components: Sequence[str], manifests: Path = K8S
) -> str:
    """Render the base with some components, and the release.

    Args:
        render: the tool.
        scratch: folder that gets a copy of the manifests.
        components: their names.
        manifests: what is copied.
    """
    names = [*components, "release"]
    root = scratch / "k8s"
    if not root.exists():
        shutil.copytree(manifests, root, ignore=shutil.ignore_patterns("check", "__pycache__"))
    mix = root / "overlays" / ("mix-" + "-".join(names))
    mix.mkdir(exist_ok=True)
    body = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../base"],
        "components": [f"../../components/{n}" for n in names],
    }
    (mix / "kustomization.yaml").write_text(yaml.safe_dump(body))
    return render(mix)


def render_everything(
    render: Renderer, scratch: Path, manifests: Path = K8S
) -> Iterator[tuple[str, str]]:
    """Render the base, every overlay, every tested combination; yields (name, YAML)."""
    yield "base", render(manifests / "base")
    for overlay in OVERLAYS:
        yield f"overlays/{overlay}", render(manifests / "overlays" / overlay)
    for components in TESTED:
        name = "+".join(components) or "no component"
        yield name, render_combination(render, scratch, components, manifests)


def documents(text: str) -> list[dict[str, Any]]:
    """Parse rendered YAML."""
    return [d for d in yaml.load_all(text, Loader=_LOADER) if d]

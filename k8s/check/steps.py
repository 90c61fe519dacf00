"""The steps of the check, a tool each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8s.check.rendering import K8S, documents

ROOT = K8S.parent
VERSIONS = ("1.35", "1.37")  # the oldest supported Kubernetes, and the newest
CHECKOV = ROOT / ".tools" / "bin" / "checkov"
CHECKOV_CONFIG = Path(__file__).with_name("checkov.yaml")
# Operators' own kinds: no schema of theirs comes with the validator.
OPERATORS = ("cert-manager.io", "kueue.x-k8s.io", "monitoring.coreos.com")
UNRELEASED = "sha256:" + "0" * 64


class Missing(Exception):
    """A tool is not here; the message says why."""


class Wrong(Exception):
    """A tool found something; the message is what."""


def unique_documents(rendered: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every different document of all renderings, each once.

    The base alone is left out: it names images that only a release fills in, and is not applied.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, text in rendered.items():
        for document in documents(text) if name != "base" else ():
            found.setdefault(json.dumps(document, sort_keys=True, default=str), document)
    return list(found.values())


def check_names(name: str, text: str) -> None:
    """Refuse a rendering in which two objects share a name, or which runs nothing.

    Raises:
        Wrong: with the names.
    """
    names = [_name(document) for document in documents(text)]
    if twice := {f"{kind}/{each}" for kind, each in names if names.count((kind, each)) > 1}:
        raise Wrong(f"{name}: rendered twice: {', '.join(sorted(twice))}")
    if not any(kind == "Deployment" for kind, _ in names):
        raise Wrong(f"{name} renders, but runs nothing")


def check_style(manifests: Path) -> str:
    """Lint the YAML as it is written.

    Raises:
        Missing: without yamllint.
        Wrong: with what it says.
    """
    _in_venv("yamllint")
    command = [sys.executable, "-m", "yamllint", "-s", "-c", str(ROOT / ".yamllint.yaml")]
    _run([*command, str(manifests)])
    return "clean"


def check_schemas(rendered: Mapping[str, str], scratch: Path) -> str:
    """Hold every document against Kubernetes' own schemas, unknown fields refused.

    Raises:
        Missing: without kubernetes-validate.
        Wrong: with what it says, or for a kind that nobody has a schema of.
    """
    _in_venv("kubernetes_validate")
    known, foreign = [], 0
    for document in unique_documents(rendered):
        group = document["apiVersion"].rpartition("/")[0]
        if group.endswith(OPERATORS):
            foreign += 1
        else:
            known.append(document)
    file = scratch / "documents.yaml"
    file.write_text(_dump(known))
    for version in VERSIONS:
        command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--quiet"]
        said = _run([*command, "-k", version, str(file)])
        if "WARN" in said:
            raise Wrong(said)
    against = f"{len(known)} documents, Kubernetes {' and '.join(VERSIONS)}"
    return f"{against}; {foreign} of operators unread"


def check_security(rendered: Mapping[str, str], scratch: Path) -> str:
    """Have checkov look at everything, in one run.

    Raises:
        Missing: where ``make tools`` could not install it.
        Wrong: with the checks that fail.
    """
    if not CHECKOV.exists():
        raise Missing("it is not in .tools; run: make tools")
    # Every document once; two shapes of one object go into two files, for it knows them by name.
    files: list[list[dict[str, Any]]] = []
    for document in unique_documents(rendered):
        for file in files:
            if all(_name(document) != _name(other) for other in file):
                file.append(document)
                break
        else:
            files.append([document])
    folder = scratch / "checkov"
    folder.mkdir()
    for number, found in enumerate(files):
        (folder / f"shape-{number}.yaml").write_text(_dump(found))
    said = _run(
        [str(CHECKOV), "--config-file", str(CHECKOV_CONFIG), "--directory", str(folder)],
        {"LOG_LEVEL": "ERROR", "CHECKOV_RUN_SCA_PACKAGE_SCAN": "false"},
    )
    counted = re.search(r"Passed checks: (\d+)", said)
    if counted is None or int(counted[1]) == 0 or "Parsing errors" in said:
        raise Wrong(f"checkov did not look at everything:\n{said}")
    return f"{len(files)} shapes, {counted[1]} checks passed"


def check_policies(environ: Mapping[str, str]) -> str:
    """Run our own policies.

    Raises:
        Missing: without pytest, or what a policy needs.
        Wrong: with the tests that fail.
    """
    _in_venv("pytest")
    # That everything renders has been seen here already, and the check does not check itself.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"]
    command += ["-k", "not renders", "--ignore", "tests/manifests/test_check.py"]
    said = _run([*command, "tests/manifests"], environ)
    summary = said.strip().splitlines()[-1]
    if skipped := re.findall(r"^SKIPPED \[\d+\] .*", said, re.M):
        raise Missing("; ".join(skipped))
    if "passed" not in summary:
        raise Wrong(said)
    return summary


def check_released(rendered: Mapping[str, str], *, must: bool) -> str:
    """Name the images that no release has filled in: such a Pod's image can never be pulled.

    Args:
        rendered: name → YAML.
        must: whether that is an error.

    Raises:
        Wrong: with their names.
    """
    open_ = {
        found
        for name, text in rendered.items()
        if name.startswith("overlays/")
        for found in re.findall(rf"image: (\S+)@{UNRELEASED}", text)
    }
    if not open_:
        return "every image has its digest"
    names = ", ".join(sorted(open_))
    if must:
        raise Wrong(
            f"not released, all zeros for a digest: {names}. Pods would wait for images that are "
            "nowhere. Build and push them, then: make release IMAGES='name=where@sha256:…'"
        )
    return f"UNRELEASED {names}: do not apply; make release fills them in"


def _name(document: dict[str, Any]) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _dump(found: list[dict[str, Any]]) -> str:
    return "---\n".join(json.dumps(document, indent=1) + "\n" for document in found)


def _in_venv(module: str) -> None:
    """Refuse to go on without a module of the development environment."""
    found = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, check=False
    )
    if found.returncode:
        raise Missing(f"{module} is not in {Path(sys.prefix).name}; see constraints.txt")


def _run(command: list[str], environ: Mapping[str, str] | None = None) -> str:
    """Run a tool; returns what it says.

    Raises:
        Wrong: with what it says when it ends in failure.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Wrong(done.stdout.strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout

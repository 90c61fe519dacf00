"""The locks of the images: the project's own versions, each file by its hash."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.images.dockerfile import ROOT

IMAGE = ROOT / "services" / "image"
LOCKS = {
    "build": IMAGE / "build.txt",
    "cpu": IMAGE / "cpu.txt",
    "cuda": IMAGE / "cuda.txt",
    "mlflow": ROOT / "mlflow" / "requirements.txt",
}
# What constraints.txt cannot know: pip's freeze names no setuptools, and GPUs were never there.
BEYOND = re.compile(r"setuptools|triton|nvidia-.*|cuda-.*")
each = pytest.mark.parametrize("name", LOCKS)


def canonical(name):
    """PEP 503's spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text):
    """Package → version, of `name==version` lines, local labels dropped."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;+]+)", text, re.M)
    return {canonical(name): version for name, version in found}


def required(*extras):
    """Names the project needs to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    given = [*project["dependencies"]]
    for extra in extras:
        given += project["optional-dependencies"][extra]
    return {canonical(re.match(r"[\w.-]+", d)[0]) for d in given}


@each
def test_versions_are_those_of_the_constraints(name):
    """What was tested is what is shipped."""
    tested = pins((ROOT / "constraints.txt").read_text())
    for package, version in pins(LOCKS[name].read_text()).items():
        if package in tested:
            assert version == tested[package], package
        else:
            assert BEYOND.fullmatch(package), package


@each
def test_every_requirement_has_a_hash(name):
    """Each entry is a name, a version and at least one SHA-256, and nothing else."""
    entries = re.sub(r"\\\n\s*", "", LOCKS[name].read_text()).splitlines()
    assert len(entries) == len(pins(LOCKS[name].read_text())) > 5
    for entry in entries:
        assert re.fullmatch(r"[\w.\[\]-]+==\S+( ;[^-]*)?( +--hash=sha256:[0-9a-f]{64})+", entry), (
            entry[:80]
        )


def test_both_variants_hold_all_that_the_project_needs():
    """A dependency that was added and not locked would be missing in the image."""
    for name in ("cpu", "cuda"):
        assert required("postgres") <= set(pins(LOCKS[name].read_text())), "run: make locks"


def test_the_variants_differ_in_torch_alone():
    """CPU torch brings no CUDA; everything else is one."""
    cpu, cuda = (pins(LOCKS[n].read_text()) for n in ("cpu", "cuda"))
    assert "torch==2.13.0+cpu" in LOCKS["cpu"].read_text()
    assert cpu.items() <= cuda.items()
    assert all(BEYOND.fullmatch(extra) for extra in cuda.keys() - cpu.keys())


def test_no_lock_says_where_to_fetch():
    """Whoever builds chooses the index; the hash decides what is accepted."""
    for path in (*LOCKS.values(), ROOT / "k8s/check/requirements.txt"):
        assert not re.search(r"://|--index|--find-links|^-", path.read_text(), re.M), path

"""The laws of the wire: every call says why it may fail, and whether it may be repeated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from mien.wire.channel import methods
from services.chassis.policy import POLICIES

ROOT = Path(__file__).resolve().parents[2]
RPC = re.compile(r"((?:^ *//.*\n)+)^ *rpc (\w+)\(", re.MULTILINE)
REASON = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
METHODS = [(f"/{service}/{m.name}", m) for service, m in methods()]
SINGLE_WORDS = {"IMAGE", "FILTER"}  # reasons without an underscore


def comments() -> dict[str, str]:
    """Path of each RPC → its comment."""
    found = {}
    for file in sorted((ROOT / "proto").rglob("*.proto")):
        text = file.read_text()
        services = re.findall(r"^service (\w+)", text, re.MULTILINE)
        (package,) = re.findall(r"^package (\S+);", text, re.MULTILINE)
        for comment, name in RPC.findall(text):
            plain = " ".join(line.strip(" /") for line in comment.splitlines())
            found[f"/{package}.{services[0]}/{name}"] = plain
    return found


COMMENTS = comments()


def reasons(comment: str) -> set[str]:
    told = comment.partition("Reasons:")[2]
    words = set(re.findall(r"\b[A-Z]{4,}\b", told)) & SINGLE_WORDS
    return set(REASON.findall(told)) | words


def raised() -> set[str]:
    """Every text in the sources that could be a reason."""
    text = [
        path.read_text()
        for folder in ("src/mien", "services")
        for path in (ROOT / folder).rglob("*.py")
        if "mien/api" not in str(path)
    ]
    return set(re.findall(r'"([A-Z][A-Z0-9_]+)"', "\n".join(text)))


@pytest.mark.parametrize("path", [path for path, _ in METHODS])
def test_every_call_says_why_it_fails(path):
    """Its comment ends with the reasons, or says there are none."""
    comment = COMMENTS[path]
    assert "Reasons:" in comment
    assert reasons(comment) or "none" in comment.partition("Reasons:")[2]


@pytest.mark.parametrize("path", [path for path, _ in METHODS])
def test_no_call_promises_a_reason_that_nobody_gives(path):
    """Each reason stands somewhere in the sources."""
    assert reasons(COMMENTS[path]) - raised() == set()


@pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])
def test_what_has_no_side_effects_needs_no_writer(path, method):
    """And the other way round: clients repeat such calls by themselves."""
    level = method.GetOptions().idempotency_level
    if level == MethodOptions.NO_SIDE_EFFECTS:
        assert POLICIES[path].role == "viewer"
    elif not method.client_streaming:
        assert POLICIES[path].role != "viewer"


def test_the_committed_stubs_are_those_of_the_protos(tmp_path):
    """`make proto` was run after the last change."""
    pytest.importorskip("grpc_tools", reason="SKIPPED: grpcio-tools is not installed")
    plugins = Path(sys.executable).parent
    if not (plugins / "protoc-gen-mypy").exists():
        pytest.skip("SKIPPED: mypy-protobuf is not installed")
    files = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "proto").rglob("*.proto"))]
    outs = ["python_out=", "grpc_python_out=", "mypy_out=quiet:", "mypy_grpc_out=quiet:"]
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-Iproto"),
            *(f"--{out}{tmp_path}" for out in outs),
            *files,
        ],
        cwd=ROOT,
        check=True,
        env={**os.environ, "PATH": f"{plugins}:{os.environ['PATH']}"},
    )
    made = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*.py*")}
    assert len(made) == 4 * len(files)
    assert [str(p) for p, text in made.items() if (ROOT / "src" / p).read_text() != text] == []


@pytest.mark.parametrize(("strict", "code"), [("", 0), ("1", 1)])
def test_a_machine_without_buf_says_what_it_skips(strict, code, tmp_path):
    """And fails when everything is wanted."""
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        ["bash", str(ROOT / "proto" / "check.sh")],
        env={"PATH": str(tmp_path), "CHECK_STRICT": strict},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "SKIPPED buf: neither buf nor npx is on the PATH" in done.stdout

"""Play a container engine: do a Dockerfile's steps in a clean folder, then run what it says.

What an engine would do and this does not: the base image, users and groups (the process gets the
number all the same, where we are root), the file system's isolation. Every path of the image lies
below one folder; words of the Dockerfile that name such a path are moved there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.images.dockerfile import ROOT, Stage, fill, read

MOVED = re.compile(r"(?<!\w)/(?:opt/mien|opt/mlflow|srv/mien|srv/mlflow|var/lib/mien|tmp)(?!\w)")
PASSED_ON = ("PIP_", "UV_", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass(frozen=True, slots=True)
class Image:
    """What was built.

    Attributes:
        root: stands for ``/`` of the image.
        runtime: its last stage.
        took_s: seconds of each RUN.
    """

    root: Path
    runtime: Stage
    took_s: Mapping[str, float]

    def moved(self, text: str) -> str:
        """Say where a path of the image lies here."""
        return MOVED.sub(lambda found: f"{self.root}{found[0]}", text)

    def environment(self, **given: str) -> dict[str, str]:
        """Return what a process of the image finds, and nothing of ours."""
        found = {k: self.moved(v) for k, v in self.runtime.environment().items()}
        return found | {"TMPDIR": f"{self.root}/tmp", **given}

    def command(self, *args: str) -> list[str]:
        """Return ENTRYPOINT, and its arguments: CMD where none are given."""
        return [*self.runtime.command("ENTRYPOINT"), *(args or self.runtime.command("CMD"))]

    def identity(self) -> dict[str, Any]:
        """Return Popen's words for USER, where we may become somebody else."""
        if os.geteuid() != 0 or not _open_to_all(Path(interpreter())):
            return {}
        uid, gid = map(int, self.runtime.last("USER").split(":"))
        return {"user": uid, "group": gid, "extra_groups": []}

    def start(self, *args: str, **given: str) -> subprocess.Popen[str]:
        """Run it, as its user, in a work folder that it cannot write to: the root is read-only."""
        return subprocess.Popen(
            self._found(self.command(*args)),
            env=self.environment(**given),
            cwd=self.moved(self.runtime.last("WORKDIR")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self.identity(),
        )

    def healthy(self, **given: str) -> subprocess.CompletedProcess[str]:
        """Run HEALTHCHECK once."""
        return self.run(*self.runtime.command("HEALTHCHECK"), **given)

    def run(self, *command: str, **given: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end, as a Job's Pod does."""
        return subprocess.run(
            self._found([*command]),
            env=self.environment(**given),
            cwd=self.moved(self.runtime.last("WORKDIR")),
            capture_output=True,
            text=True,
            check=False,
            **self.identity(),
        )

    def wait_healthy(self, process: subprocess.Popen[str], **given: str) -> None:
        """Ask until it is well; fails with its words when it ends or never is."""
        until = time.monotonic() + 300
        while (found := self.healthy(**given)).returncode:
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise AssertionError(f"{found.stderr}\n{process.communicate()[0]}")
            time.sleep(0.5)

    def size_mb(self) -> float:
        """Count what the image adds to its base, in MB."""
        files = (p for p in (self.root / "opt").rglob("*") if not p.is_symlink() and p.is_file())
        return sum(p.stat().st_size for p in files) / 1e6

    def _found(self, command: list[str]) -> list[str]:
        """Put the program's own path into a command."""
        found = shutil.which(command[0], path=self.environment()["PATH"])
        assert found is not None, f"{command[0]} is not on the image's PATH"
        assert str(self.root) in found, f"{command[0]} is found outside of the image: {found}"
        return [found, *command[1:]]


@contextmanager
def built(dockerfile: Path) -> Iterator[Image]:
    """Do the steps of a Dockerfile below a new folder that is gone afterwards."""
    if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
        pytest.skip("SKIPPED: the images' locks are for Python 3.11 on Linux")
    root = Path(tempfile.mkdtemp(prefix="mien-image-"))
    root.chmod(0o755)  # its user has to get in
    try:
        build, runtime = read(dockerfile)
        image = Image(root, runtime, {})
        took = _build(build, image)
        _assemble(runtime, image)
        yield Image(root, runtime, took)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def interpreter() -> str:
    """Find the Python to build with: this one, or for root one that the image's user can run."""
    ours = str(getattr(sys, "_base_executable", sys.executable))
    found = shutil.which("python3.11", path="/usr/local/bin:/usr/bin")
    if os.geteuid() == 0 and not _open_to_all(Path(ours)) and found is not None:
        can = subprocess.run([found, "-c", "import ensurepip"], capture_output=True, check=False)
        return found if can.returncode == 0 else ours
    return ours


def _open_to_all(program: Path) -> bool:
    return all(p.stat().st_mode & 0o001 for p in (program, *program.resolve().parents))


def _build(stage: Stage, image: Image) -> dict[str, float]:
    """Do COPY and RUN of the first stage; returns the seconds of each RUN."""
    context = image.root / "context"
    context.mkdir()
    env = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    env |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(context), "TMPDIR": str(context)}
    env |= {"MIEN_BUILD": str(image.root / "build"), "PYTHON": interpreter()}
    took = {}
    for instruction in stage.body:
        rest = fill(instruction.rest, stage.arguments())
        if instruction.word == "COPY":
            *sources, target = rest.split()
            _copy(sources, context / target)
        elif instruction.word == "RUN":
            began = time.monotonic()
            command = ["bash", "-o", "pipefail", "-c", image.moved(rest)]
            done = subprocess.run(
                command, cwd=context, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            took[rest] = time.monotonic() - began
    shutil.rmtree(image.root / "build")
    shutil.rmtree(context)
    return took


def _assemble(stage: Stage, image: Image) -> None:
    """Do what the last stage copies, and its folders."""
    for rest in stage.all("COPY"):
        source, target = [w for w in rest.split() if not w.startswith("--")]
        if "--from" in rest:
            assert source == target  # it is there: the build put it below the same root
        else:
            shutil.copy(ROOT / source, image.moved(target))
            Path(image.moved(target)).chmod(0o555)
    for path in ("/tmp", "/var/lib/mien"):
        folder = Path(f"{image.root}{path}")
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    Path(image.moved(stage.last("WORKDIR"))).mkdir(parents=True, mode=0o555)


def _copy(sources: list[str], target: Path) -> None:
    """Copy what git knows, and what is about to be added, as an engine copies a context."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for source in sources:
        done = subprocess.run(
            [*command, source], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(lambda n: (ROOT / n).exists(), done.stdout.split()):
            folder = source.endswith("/")
            inside = target / Path(name).relative_to(source) if folder else target
            if not folder and (len(sources) > 1 or target.is_dir()):
                inside = target / Path(name).name
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, inside)

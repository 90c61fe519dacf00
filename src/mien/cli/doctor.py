"""Look at this machine: what works, what is missing, what to do about it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

import mien
from mien.core.errors import MienError
from mien.settings import Settings, cores, load_settings, unknown_variables

State = Literal["ok", "missing", "broken"]
NEEDED_DISK_GB = 2.0
NEEDED_RAM_GB = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        state: ``ok``; ``missing`` can be done without; ``broken`` cannot.
        found: what is there.
        hint: what to do, or "".
    """

    name: str
    state: State
    found: str
    hint: str = ""


def examine(project: Path) -> list[Check]:
    """Look at everything; a check that fails itself is reported, not raised."""
    try:
        settings = load_settings(project)
    except MienError as error:
        return [Check("settings", "broken", error.message, "unset or correct the variable")]
    looks: list[Callable[[Settings], Check | list[Check]]] = [
        _settings,
        _python,
        _processor,
        _memory,
        _accelerator,
        _disk,
        _libraries,
        _cascades,
        _tools,
        _tracking,
        _services,
        _triton,
        _assets,
    ]
    checks: list[Check] = []
    for look in looks:
        try:
            found = look(settings)
        except Exception as error:  # noqa: BLE001  a sick machine is what this is for
            found = Check(look.__name__.strip("_"), "broken", f"{type(error).__name__}: {error}")
        checks += found if isinstance(found, list) else [found]
    return checks


def print_checks(checks: list[Check], *, as_json: bool) -> None:
    """Show the table, or one JSON object."""
    broken = [c.name for c in checks if c.state == "broken"]
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "checks": [asdict(c) for c in checks]}, indent=1))
        return
    width = max(len(c.name) for c in checks)
    for check in checks:
        typer.echo(f"{check.state:<8} {check.name:<{width}}  {check.found}")
        if check.hint:
            typer.echo(f"{'':<8} {'':<{width}}  -> {check.hint}")
    typer.echo(f"broken: {', '.join(broken)}" if broken else "everything required works")


def _settings(settings: Settings) -> list[Check]:
    wrong = [
        Check(
            name,
            "missing",
            "set, but nothing reads it",
            f"did you mean {near}?" if near else "unset it",
        )
        for name, near in unknown_variables().items()
    ]
    where = f"workers {settings.workers}, cache {settings.cache}"
    return [Check("settings", "ok", where), *wrong]


def _python(_: Settings) -> Check:
    found = f"{platform.python_version()} ({sys.executable}), mien {mien.__version__}"
    return Check("python", "ok", found)


def _processor(_: Settings) -> Check:
    flags = _cpu_flags()
    bf16 = sorted(flags & {"amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16"})
    speed = f"bf16 in hardware ({', '.join(bf16)})" if bf16 else "no bf16: training runs in fp32"
    return Check("processor", "ok", f"{cores()} cores, {platform.machine()}, {speed}")


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    names = ("flags", "Features")
    return {f for line in lines if line.startswith(names) for f in line.partition(":")[2].split()}


def _memory(_: Settings) -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available / 2**30 >= NEEDED_RAM_GB:
        return Check("memory", "ok", found)
    hint = f"at least {NEEDED_RAM_GB:g} GiB are wanted; lower MIEN_WORKERS"
    return Check("memory", "missing", found, hint)


def _accelerator(_: Settings) -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", "missing", f"none that torch {torch.__version__} can use; CPU it is")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free, total = torch.cuda.mem_get_info()
    return Check("gpu", "ok", f"{', '.join(names)}; {free / 2**30:.0f} of {total / 2**30:.0f} GiB")


def _disk(settings: Settings) -> list[Check]:
    return [
        _folder("disk: project", Path.cwd()),
        _folder("disk: cache", settings.cache),
    ]


def _folder(name: str, folder: Path) -> Check:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    found = f"{free:.1f} GB free at {folder}"
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check(name, "broken", f"{existing} cannot be written to", "change owner or mode")
    if free < NEEDED_DISK_GB:
        return Check(name, "missing", found, f"at least {NEEDED_DISK_GB:g} GB are wanted")
    return Check(name, "ok", found)


def _libraries(_: Settings) -> list[Check]:
    from importlib.metadata import PackageNotFoundError, requires, version

    needed = [r for r in requires("mien") or [] if "extra ==" not in r]
    missing, outside = [], []
    for text in needed:
        name, fits = _requirement(text)
        try:
            if not fits(version(name)):
                outside.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing or outside:
        found = "; ".join(
            f"{what}: {', '.join(names)}"
            for what, names in (("missing", missing), ("another release", outside))
            if names
        )
        return [Check("libraries", "broken", found, "install again with constraints.txt")]
    return [Check("libraries", "ok", f"all {len(needed)} are installed")]


def _requirement(text: str) -> tuple[str, Callable[[str], bool]]:
    from packaging.requirements import Requirement

    requirement = Requirement(text)

    def fits(installed: str) -> bool:
        return requirement.specifier.contains(installed, prereleases=True)

    return requirement.name, fits


def _cascades(_: Settings) -> Check:
    import cv2

    file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
    if file.exists():
        return Check("detector haar", "ok", f"OpenCV {cv2.__version__} brings its cascades")
    hint = "install opencv-python-headless again, or use another preprocess.detector"
    return Check("detector haar", "missing", "OpenCV's cascades are not there", hint)


def _tools(_: Settings) -> list[Check]:
    return [
        _tool("git", ["git", "--version"], "needed by DVC; `mien run` does without"),
        _tool("make", ["make", "--version"], "only the Makefile needs it"),
        _tool("dvc", [sys.executable, "-m", "dvc", "--version"], "`mien run` does without"),
    ]


def _tool(name: str, command: list[str], hint: str) -> Check:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return Check(name, "missing", "cannot be run", hint)
    return Check(name, "ok", (done.stdout or done.stderr).splitlines()[0])


def _tracking(settings: Settings) -> Check:
    from mien.adapters.mlflow.server import reachable

    uri = settings.tracking_uri
    if uri == "none":
        return Check("tracking", "missing", "switched off", "unset MIEN_TRACKING_URI to switch on")
    problem = reachable(uri)
    waiting = sum(1 for _ in settings.spool.glob("*-*")) if settings.spool.exists() else 0
    spooled = f"; {waiting} runs wait in {settings.spool}" if waiting else ""
    if problem:
        hint = "runs are kept and delivered later; start the server or correct the address"
        return Check("tracking", "missing", f"{uri}: {problem}{spooled}", hint)
    return Check("tracking", "ok", f"{uri}{spooled}")


def _services(settings: Settings) -> list[Check]:
    from mien.cli.doctor_services import look

    found = look(settings, Path.cwd())
    if not found:
        hint = "`make up` starts them; MIEN_*_TARGET sends work to them"
        return [Check("services", "ok", "none is used, all work is done in process", hint)]
    return [
        Check(
            f"service {f.name}",
            "ok" if f.good else "broken" if f.asked_for else "missing",
            f.what,
            f.hint,
        )
        for f in found
    ]


def _triton(settings: Settings) -> Check:
    from mien.adapters.triton.server import TritonHome

    if settings.triton != "wheel":
        return Check("triton", "ok", f"MIEN_TRITON is {settings.triton}")
    missing = TritonHome(settings.triton_home).missing
    if missing:
        return Check("triton", "missing", missing, "make triton; needed for serving only")
    return Check("triton", "ok", f"installed in {settings.triton_home}")


def _assets(settings: Settings) -> list[Check]:
    from mien.adapters.assets.assets import damage
    from mien.adapters.assets.table import ASSETS

    checks = []
    for asset in ASSETS:
        name = f"asset {asset.name}"
        hint = f"mien assets pull {asset.name}"
        home = settings.assets
        if home is None or not asset.present(home):
            checks.append(Check(name, "missing", "not on this machine; optional", hint))
        elif wrong := damage(asset, home):
            found = f"damaged: {', '.join(wrong[:3])}"
            remove = f"remove {home / asset.folder}, then {hint}"
            checks.append(Check(name, "missing", found, remove))
        else:
            checks.append(Check(name, "ok", str(home / asset.folder)))
    return checks

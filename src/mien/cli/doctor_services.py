"""Which services are used or were started here, whether they answer, and why not."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.settings import Settings

SERVICES = ("registry", "generation", "training", "serving")
NOTE = "up.json"  # left by ``make up`` while it runs


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one service.

    Attributes:
        name: of the service.
        good: whether it can be used.
        asked_for: whether a setting sends work to it.
        what: where it is and how it does.
        hint: what to do, or "".
    """

    name: str
    good: bool
    asked_for: bool
    what: str
    hint: str = ""


def look(settings: Settings, project: Path) -> list[Found]:
    """Probe every service that a setting names or that ``make up`` started in this project."""
    note = read_note(project)
    parts: Mapping[str, Mapping[str, Any]] = note.get("parts", {})
    found = []
    for name in SERVICES:
        target = getattr(settings, f"{name}_target")
        part = parts.get(name, {})
        if target is not None or part:
            found.append(_service(name, target, part, settings))
    found += [_page(name, part) for name, part in parts.items() if name not in SERVICES]
    if parts and not _alive(int(note.get("pid", 0))):
        what = "`make up` ended without ending its parts"
        found.append(Found("up", False, False, what, "run `make up` again"))
    return found


def read_note(project: Path) -> dict[str, Any]:
    """Read what ``make up`` left, {} when it does not run here."""
    folder = project / os.environ.get("MIEN_SERVER_DATA", "server")
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and isinstance(note.get("parts"), dict) else {}


def _service(name: str, target: str | None, part: Mapping[str, Any], settings: Settings) -> Found:
    from mien.wire.health import probe

    where = target or str(part.get("target", ""))
    asked_for = target is not None
    if not where:
        return Found(name, False, asked_for, "it did not become ready", _log_hint(part))
    health = probe(where, settings)
    if health.ready:
        return Found(name, True, asked_for, f"{where} serves")
    if health.reached:
        return Found(name, False, asked_for, f"{where} runs, not ready: {health.why}")
    if part and not _alive(int(part.get("pid", 0))):
        return Found(name, False, asked_for, f"{where} is down: it died", _log_hint(part))
    hint = _log_hint(part) or f"start it: make up, or python -m services.{name}"
    if asked_for:
        hint += f"; without MIEN_{name.upper()}_TARGET its work is done in process"
    return Found(name, False, asked_for, f"{where} is down: {health.why}", hint)


def _page(name: str, part: Mapping[str, Any]) -> Found:
    host, _, port = str(part.get("target", "")).rpartition(":")
    try:
        with socket.create_connection((host, int(port or 0)), 2):
            return Found(name, True, False, f"http://{host}:{port}")
    except OSError as error:
        return Found(name, False, False, f"{host}:{port} is down: {error}", _log_hint(part))


def _log_hint(part: Mapping[str, Any]) -> str:
    return f"see {part['log']}" if part.get("log") else ""


def _alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, ValueError):
        return False

"""``python -m services.registry``: run the registry service."""

from __future__ import annotations

from services.chassis.main import run
from services.registry.mount import mount

if __name__ == "__main__":
    raise SystemExit(run("registry", mount))

"""``python -m services.training``."""

from __future__ import annotations

from services.chassis.main import run
from services.training.mount import mount

if __name__ == "__main__":
    raise SystemExit(run("training", mount))

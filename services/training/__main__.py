"""``python -m services.training``."""

from __future__ import annotations

from services.chassis.frame import Frame
from services.chassis.main import run
from services.training.mount import mount


def _mount(frame: Frame) -> None:
    mount(frame)


if __name__ == "__main__":
    raise SystemExit(run("training", _mount))

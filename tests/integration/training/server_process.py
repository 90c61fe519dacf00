"""The training service as a process whose worker takes no time; for those who kill it."""

import sys
from pathlib import Path

from services.chassis.main import run
from services.training.mount import mount

INSTANT = Path(__file__).parents[2] / "contract" / "instant_mien.py"

if __name__ == "__main__":
    command = (sys.executable, str(INSTANT))
    sys.exit(run("training", lambda frame: mount(frame, command)))

"""The generation service as a process: ``python -m services.generation``."""

from services.chassis.main import run
from services.generation.mount import mount

raise SystemExit(run("generation", mount))

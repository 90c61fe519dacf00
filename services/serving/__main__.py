"""``python -m services.serving``: Triton, watched, and the serving service before it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mien.compose import open_serving
from mien.core.errors import MienError
from mien.settings import load_settings
from services.chassis.main import run
from services.chassis.settings import load_settings as load_server_settings
from services.serving.mount import mounted


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; Triton ends after the last answer. Returns the exit code."""
    project = Path.cwd()
    try:
        home = (load_server_settings().data / "serving").resolve()
        with open_serving(home, project, load_settings(project), wait_s=0) as serving:
            return run("serving", mounted(serving), argv)
    except MienError as error:
        sys.stderr.write(f"serving: {error}\n" + (f"  {error.hint}\n" if error.hint else ""))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

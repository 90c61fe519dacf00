"""``python -m services NAME``: run one of them; in an image, without a name, that of its build."""

from __future__ import annotations

import os
import runpy
import sys

from services.chassis.settings import PORTS

if __name__ == "__main__":
    asked = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in PORTS else ""
    name = asked or os.environ.get("SERVICE", "")
    if name not in PORTS:
        sys.stderr.write(f"services: name one of {', '.join(PORTS)}; got {name or 'none'}\n")
        raise SystemExit(2)
    runpy.run_module(f"services.{name}", run_name="__main__", alter_sys=True)

"""Real servers on free loopback ports, for tests and benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.chassis.frame import Frame
from services.chassis.main import Mount
from services.chassis.settings import load_settings


@contextmanager
def running(name: str, mount: Mount, **settings: object) -> Iterator[str]:
    """Serve in this process; yields host:port.

    Args:
        name: of the service.
        mount: adds the servicers.
        settings: fields of ``ServerSettings``; ``data`` is a temporary folder and
            ``metrics_address`` ``none`` unless given.
    """
    with framed(name, mount, **settings) as frame:
        yield frame.target


@contextmanager
def framed(name: str, mount: Mount, **settings: object) -> Iterator[Frame]:
    """Serve in this process; yields the frame, for those who look at metrics or drain."""
    with tempfile.TemporaryDirectory(prefix=f"mien-{name}-") as folder:
        given = {
            "address": "127.0.0.1:0",
            "metrics_address": "none",
            "data": Path(folder),
            "grace_s": 2.0,
            **settings,
        }
        frame = Frame(name, load_settings(**given))
        try:
            mount(frame)
            frame.start()
            yield frame
        finally:
            frame.drain(frame.settings.grace_s)

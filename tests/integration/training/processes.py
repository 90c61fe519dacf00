"""The training service as a process that can be killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[3]
SERVER = Path(__file__).with_name("server_process.py")
INSTANT = (sys.executable, str(REPOSITORY / "tests" / "contract" / "instant_mien.py"))


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Service:
    """The service as a process, always at the same address.

    Its worker takes no time, or is the real one. Plans and projects lie in ``home/work``.
    """

    def __init__(self, home, *, real=False, root=None):
        self.home = home
        self.root = root or home / "work"
        self.root.mkdir(parents=True, exist_ok=True)
        home.mkdir(exist_ok=True)
        self.command = ["-m", "services.training"] if real else [str(SERVER)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = None

    def start(self):
        """Start it and wait until it listens."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("MIEN_")}
        env |= {
            "PYTHONPATH": str(REPOSITORY),
            "MIEN_CACHE": str(self.home / "cache"),
            "MIEN_WORKERS": "2",
            "MIEN_TRACKING_URI": "none",
            "MIEN_SERVER_DATA": str(self.home / "server"),
            "MIEN_SERVER_WORK_ROOTS": json.dumps([str(self.root)]),
            "MIEN_SERVER_LOG_LEVEL": "error",
        }
        argv = ["--address", self.address, "--metrics-address", "none"]
        self.process = subprocess.Popen(
            [sys.executable, *self.command, *argv],
            cwd=self.home,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline().startswith("ready training")

    def stop(self, number=signal.SIGKILL):
        """End it by a signal; returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


def workers_of(home):
    """Processes of this user whose environment says that they work for this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MIEN_CACHE") == str(home / "cache"):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found

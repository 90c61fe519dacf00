"""Start Triton from its wheel, keep it alive, and end all of it again.

Triton calls itself ready whatever happened to its stubs, so readiness here is an inference with a
known answer for every model that must answer. A model that fails it is loaded anew; a server that
died is started again, later each time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mien.adapters.triton.bound_launch import bound
from mien.adapters.triton.client import TritonClient
from mien.core.errors import MienError, NotFound, Unavailable

if TYPE_CHECKING:
    from mien.recognition.package import Golden

log = logging.getLogger(__name__)

SHARED = Path("/dev/shm")  # noqa: S108  where Triton's stubs leave their memory
SHARED_NAMES = "triton_python_backend_shm_region_*"
CANARY_S = 10.0
CANARY_TOLERANCE = 1e-3
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30.0
STEADY_S = 60.0  # a server that lived so long is started again without delay


@dataclass(frozen=True, slots=True)
class TritonHome:
    """Where ``make triton`` put it.

    Attributes:
        folder: ``.triton``: ``dist`` has the server, ``venv`` the interpreter of its stubs.
    """

    folder: Path

    @property
    def distribution(self) -> Path:
        """Folder of the server inside the wheel."""
        return self.folder / "dist" / "pytriton" / "tritonserver"

    @property
    def missing(self) -> str:
        """Say what is missing, "" when all is there."""
        needed = (
            self.distribution / "bin" / "tritonserver",
            self.distribution / "backends" / "python" / "triton_python_backend_stub",
            self.folder / "venv" / "bin" / "python",
        )
        return next((f"{p} does not exist" for p in needed if not p.exists()), "")

    def check(self) -> None:
        """Raise ``NotFound TRITON_MISSING`` unless it is installed."""
        if self.missing:
            raise NotFound("TRITON_MISSING", self.missing, hint="run: make triton")

    def environment(self) -> dict[str, str]:
        """Return the environment of the server: its stubs find their own interpreter first."""
        python = self.folder / "venv" / "bin" / "python"
        asked = 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))'
        said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        return {
            **kept,
            "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": said.stdout.strip(),
            "OMP_NUM_THREADS": "1",
        }


class TritonServer:
    """A Triton that is watched; its whole process group ends with this process."""

    def __init__(
        self,
        home: TritonHome,
        repository: Path,
        *,
        restore: Callable[[], None] = lambda: None,
        canaries: Callable[[], Mapping[str, Golden]] = dict,
        grpc_port: int = 0,
        metrics_port: int = 0,
        log_file: Path | None = None,
        interval_s: float = 2.0,
    ) -> None:
        """Prepare; ``start`` starts it.

        Args:
            home: where it is installed.
            repository: folder of models; nothing is loaded from it unasked.
            restore: loads what must be served; called whenever the server was started.
            canaries: model → what it must answer.
            grpc_port: loopback port, 0 for a free one.
            metrics_port: loopback port of Prometheus metrics, 0 for none.
            log_file: for its output; thrown away without.
            interval_s: between two looks.
        """
        self.home, self.repository = home, repository.resolve()
        self.restore, self.canaries = restore, canaries
        self.port = grpc_port or free_port()
        self.client = TritonClient(f"127.0.0.1:{self.port}")
        self.restarts = self.repairs = 0
        self._metrics_port, self._log_file = metrics_port, log_file or Path(os.devnull)
        self._interval_s = interval_s
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: str | None = "it has not been started"
        self._ended, self._look = threading.Event(), threading.Event()
        self._first = threading.Event()
        self._thread: threading.Thread | None = None
        self._environment: dict[str, str] = {}
        self._stubs: dict[int, str] = {}  # process → its model
        self._rests: dict[str, tuple[float, float]] = {}  # model → not before, pause

    @property
    def target(self) -> str:
        """Address of its gRPC port."""
        return self.client.target

    @property
    def pid(self) -> int | None:
        """Process, also leader of its group."""
        return self._process.pid if self._process else None

    def problem(self) -> str | None:
        """Say why it cannot be relied on; None when every canary answered at the last look."""
        return self._problem

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it; with a ``timeout_s`` above 0, wait until what must be served answers.

        Raises:
            NotFound: ``TRITON_MISSING``. Unavailable: ``TRITON_UNAVAILABLE``.
        """
        self.home.check()
        self._environment = self.home.environment()
        remove_left_memory()
        # The kernel ties the server to the thread that starts it: always the same one.
        self._thread = threading.Thread(target=self._watch, name="triton", daemon=True)
        self._thread.start()
        if timeout_s <= 0:
            return
        self._first.wait(timeout_s)
        if self._process is None or self._process.poll() is not None:
            self.stop()
            raise Unavailable(
                "TRITON_UNAVAILABLE",
                f"Triton did not start within {timeout_s:g} s: {self._problem}",
                hint=f"look into {self._log_file}",
            )

    def look_now(self) -> None:
        """Ask for a look at once: somebody got no answer."""
        self._look.set()

    def stop(self) -> None:
        """End the whole process group, stubs included."""
        self._ended.set()
        self._look.set()
        if self._thread is not None:
            self._thread.join(15.0)
        self.client.close()

    def _watch(self) -> None:
        backoff, since = FIRST_BACKOFF_S, 0.0
        while not self._ended.is_set():
            if self._process is None or self._process.poll() is not None:
                if self._process is not None:
                    self._end_group()
                    self.restarts += 1
                    self._problem = f"it ended with code {self._process.returncode}"
                    log.warning("Triton ended; it is started again", extra={"in_s": backoff})
                    backoff = FIRST_BACKOFF_S if time.monotonic() - since > STEADY_S else backoff
                    self._ended.wait(backoff)
                    backoff = min(2 * backoff, MAX_BACKOFF_S)
                if not self._ended.is_set():
                    self._launch()
                since = time.monotonic()
            self._examine()
            self._first.set()
            self._look.wait(self._interval_s)
            self._look.clear()
        self._end_group()
        self._problem = "it was stopped"

    def _launch(self) -> None:
        remove_left_memory()
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                bound(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30.0
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.client.live(0.5):
                return self._restored()
            self._ended.wait(0.05)
        self._problem = "it does not answer"
        return None

    def _restored(self) -> None:
        try:
            self.restore()
        except MienError as error:
            log.warning("not everything could be loaded: %s", error)

    def _command(self) -> list[str]:
        place = self.home.distribution.resolve()
        metrics = (
            ["--metrics-address=127.0.0.1", f"--metrics-port={self._metrics_port}"]
            if self._metrics_port
            else ["--allow-metrics=false"]
        )
        return [
            str(place / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={place / 'backends'}",
            f"--cache-directory={place / 'caches'}",
            "--allow-http=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.port}",
            *metrics,
            "--allow-gpu-metrics=false",
            "--model-control-mode=explicit",
            "--exit-timeout-secs=5",
        ]

    def _examine(self) -> None:
        """Ask every canary; a model that fails is loaded anew, a stub that died is noticed."""
        if self._process is None or self._process.poll() is not None:
            return
        problems: list[str] = []
        dead = self._models_of_dead_stubs()
        for model, golden in self.canaries().items():
            wrong = self._canary(model, golden)
            if self._process.poll() is not None:
                return
            if (wrong or model in dead) and self._may_repair(model):
                self._repair(model)
                wrong = self._canary(model, golden)
            if not wrong:
                self._rests.pop(model, None)
            else:
                problems.append(f"{model}: {wrong}")
        self._problem = "; ".join(problems) or None

    def _models_of_dead_stubs(self) -> set[str]:
        """Name the models of stubs that died since the last look; a dead one no longer says."""
        import psutil

        dead: set[str] = set()
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.pid).children():
                if child.status() == psutil.STATUS_ZOMBIE:
                    dead.add(self._stubs.pop(child.pid, ""))
                elif child.pid not in self._stubs:
                    files = [Path(a) for a in child.cmdline() if a.endswith("/model.py")]
                    if files:
                        self._stubs[child.pid] = files[0].parents[1].name
        return dead

    def _canary(self, model: str, golden: Golden) -> str:
        try:
            said = self.client.infer(model, golden.images, timeout_s=CANARY_S)
        except MienError as error:
            return "" if error.reason == "QUEUE_FULL" else str(error)  # it answers others
        found = golden.deviation(said)
        return "" if found <= CANARY_TOLERANCE else f"its answers differ by {found:.2g}"

    def _may_repair(self, model: str) -> bool:
        """Leave a model alone for longer each time that loading it anew did not help."""
        now = time.monotonic()
        not_before, pause = self._rests.get(model, (0.0, FIRST_BACKOFF_S))
        if now < not_before:
            return False
        self._rests[model] = (now + pause, min(2 * pause, MAX_BACKOFF_S))
        return True

    def _repair(self, model: str) -> None:
        """Load a model anew beside itself; when that does not help, take it away first."""
        self._problem = f"{model} is loaded anew"
        self.repairs += 1
        log.warning("a model does not answer as it should; loading it anew: %s", model)
        for file in (self.repository / model).glob("*/model.*"):
            with contextlib.suppress(OSError):
                os.utime(file)  # else loading does nothing
        for unload in (False, True):
            try:
                if unload:
                    self.client.unload(model)
                self.client.load(model)
            except MienError as error:
                log.warning("a model could not be loaded: %s: %s", model, error)
            else:
                return

    def _end_group(self) -> None:
        if self._process is None:
            return
        for number, wait_s in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        remove_left_memory()


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remove_left_memory() -> int:
    """Remove shared memory that killed stubs left; returns how many pieces.

    What a living process has mapped stays: other servers may run on this machine.
    """
    left = {str(p) for p in SHARED.glob(SHARED_NAMES)} if SHARED.is_dir() else set()
    for maps in Path("/proc").glob("[0-9]*/maps") if left else ():
        with contextlib.suppress(OSError):
            text = maps.read_text(encoding="utf-8", errors="replace")
            left = {path for path in left if path not in text}
    for path in left:
        with contextlib.suppress(OSError):
            Path(path).unlink()
    return len(left)

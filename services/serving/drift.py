"""Keep, where it is wished, what the faces that are judged look like in sum: nobody, no pixel.

Calls only add to sums in memory. Once a minute what fills a block is written, and once a window,
when it is over, it is held against the model's training version: one look a window, so that the
stated rate of false alarms is that of a window.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mien.adapters.serving.drift_book import DriftBook
from mien.adapters.serving.local import Champion, LocalServing
from mien.core.arrays import Float
from mien.core.errors import Corrupt, MienError
from mien.evaluation.drift import Drift, compare
from mien.evaluation.drift_reference import Reference
from mien.evaluation.drift_window import Crowd, Window, together
from services.chassis.frame import Frame

log = logging.getLogger(__name__)
FLUSH_S = 60.0


class DriftWatch:
    """Watches what a serving service judges. Everything may be called from any thread."""

    def __init__(
        self,
        home: Path,
        reference_of: Callable[[Champion], Reference | None],
        *,
        window_s: int,
        keep_windows: int,
        alpha: float,
        faces_per_person: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is written before something is seen.

        Args:
            home: folder of the service; what is kept goes into its ``drift``.
            reference_of: reads a model's training version; None where its package has none.
            window_s: length of a window.
            keep_windows: older ones are removed.
            alpha: how often a window is called drifted where nothing drifted.
            faces_per_person: how often the same person is seen in a window.
            now: seconds since 1970.
        """
        self.book = DriftBook(home)
        self._reference_of, self._now = reference_of, now
        self._window_s, self._keep = window_s, keep_windows
        self._alpha, self._per_person = alpha, faces_per_person
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._model = ""
        self._reference: Reference | None = None
        self._crowd: Crowd | None = None
        self._start = 0
        self._over = threading.Event()
        self.last: Drift | None = None  # of the last window that is over

    def see(self, champion: Champion, said: Mapping[str, Float] | None) -> None:
        """Add the faces of one picture; None = it shows none. Never fails a call."""
        try:
            self._see(champion, said)
        except Exception:
            log.exception("drift")

    def _see(self, champion: Champion, said: Mapping[str, Float] | None) -> None:
        if self._model != champion.served.hosted or self._now() >= self._start + self._window_s:
            self._turn(champion)
        with self._lock:
            crowd, reference = self._crowd, self._reference
            if crowd is None or reference is None or self._model != champion.served.hosted:
                return  # the last: another call has turned to another champion meanwhile
            if said is None:
                k, e = len(reference.classes), reference.projection.axes.shape[1]
                crowd.see(np.zeros((0, k), np.float32), np.zeros((0, e)))
            else:
                crowd.see(said["probabilities"], reference.projection.of(said["features"]))

    def _turn(self, champion: Champion | None) -> None:
        """Begin with another model, or with the next window, and write what is over."""
        start = int(self._now() // self._window_s * self._window_s)
        with self._writing:
            with self._lock:
                model, due = self._model, self._kept()
                if champion is not None and model != champion.served.hosted:
                    self._begin(champion, start)
                elif start > self._start:
                    self._start = start
                    if self._crowd is not None:
                        self._crowd.turn()
            if due is not None:
                self.book.keep(model, due)
        self._look()

    def _begin(self, champion: Champion, start: int) -> None:
        """Begin with a model, or go on where an earlier process ended."""
        self._model, self._start, self.last = champion.served.hosted, start, None
        self._reference = self._crowd = None
        reference = self._reference_of(champion)
        if reference is None:
            what = f"{self._model} has no reference, so no drift is seen: register it again"
            log.warning("drift", extra={"what": what})
            return
        self.book.keep_reference(self._model, reference)
        crowd = Crowd(len(reference.classes), reference.projection.axes.shape[1])
        try:
            for window in self.book.windows(self._model, start, start + 1):
                if window.seconds == self._window_s:
                    crowd.resume(window)
        except Corrupt as error:  # this window begins anew, in its place
            log.warning("drift", extra={"what": str(error)})
        self._reference, self._crowd = reference, crowd

    def _kept(self) -> Window | None:
        return None if self._crowd is None else self._crowd.window(self._start, self._window_s)

    def flush(self) -> None:
        """Write what fills a block; look at the last window that is over."""
        if self._now() >= self._start + self._window_s:
            self._turn(None)
            return
        with self._writing:
            with self._lock:
                model, window = self._model, self._kept()
            if window is not None:
                self.book.keep(model, window)
                self.book.forget(self._now() - self._keep * self._window_s)
        self._look()

    def _look(self) -> None:
        """Hold the window before the present one against the training version."""
        reference, model = self._reference, self._model
        if reference is None:
            return
        begun = int(self._now() // self._window_s * self._window_s)
        windows = self.book.windows(model, begun - self._window_s, begun)
        blocks, found = together(windows)
        self.last = compare(
            reference, blocks, found, alpha=self._alpha, faces_per_person=self._per_person
        )

    def run(self) -> None:
        """Flush once a minute until ``close``."""
        while not self._over.wait(min(FLUSH_S, self._window_s / 4)):
            try:
                self.flush()
            except (MienError, OSError) as error:
                log.warning("drift", extra={"what": str(error)})

    def close(self, _left_s: float = 0.0) -> None:
        """Write for the last time; faces that fill no block are forgotten."""
        self._over.set()
        self.flush()

    # Figures

    def figures(self, name: str) -> dict[str, float]:
        """Figures for the metrics: ``detected``, ``enough``, ``faces``, ``distance``, ``limit``."""
        last, model = self.last, self._model
        if last is None:
            return {}
        if name in ("distance", "limit"):
            return {s.what: s.distance if name == "distance" else s.limit for s in last.shifts}
        told = {
            "detected": float(last.verdict == "drift"),
            "enough": float(last.verdict != "not_enough_data"),
            "faces": float(last.faces),
        }
        return {model: told[name]}


def watch_drift(frame: Frame, serving: LocalServing) -> DriftWatch:
    """Have a serving service keep sums of what it judges, and show them in its metrics."""
    settings = frame.settings

    def reference_of(champion: Champion) -> Reference | None:
        served = champion.served
        arrays = serving.promoter.package(served).reference(served.variant)
        return None if arrays is None else Reference.from_arrays(arrays)

    watch = DriftWatch(
        frame.home,
        reference_of,
        window_s=settings.drift_window_s,
        keep_windows=settings.drift_windows,
        alpha=settings.drift_alpha,
        faces_per_person=settings.drift_faces_per_person,
    )
    serving.observe = watch.see
    frame.metrics.drift(watch.figures)
    frame.on_drain(watch.close)
    threading.Thread(target=watch.run, name="drift", daemon=True).start()
    return watch

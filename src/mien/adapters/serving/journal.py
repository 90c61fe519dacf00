"""What is under way on a cluster, so that another replica can finish it when its owner died."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from uuid import uuid4

from mien.adapters.triton.rollout import Deployed, TritonRollout
from mien.core.errors import Conflict, Corrupt, MienError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Journal:
    """A promotion or rollback that was begun.

    Attributes:
        owner: who is at it.
        beat: grows while the owner lives.
        version: of the model that shall be champion; "" = it is not decided yet.
        name: of the promoted repository with it; "" = not uploaded yet.
        before: name of the one that Triton served from.
    """

    owner: str
    beat: int = 0
    version: str = ""
    name: str = ""
    before: str = ""

    def text(self) -> str:
        """Write it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of(cls, text: str) -> Journal:
        """Read it.

        Raises:
            Corrupt: ``PROMOTION_JOURNAL``.
        """
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise Corrupt(
                "PROMOTION_JOURNAL",
                f"the annotation mien/promotion of Triton's Deployment is damaged: {error}",
                hint="remove the annotation when no promotion is under way",
            ) from None


class Held:
    """The right to change who is champion, with a beat that shows that its owner lives."""

    def __init__(self, rollout: TritonRollout, journal: Journal) -> None:
        self.journal = journal
        self._rollout = rollout
        self._lock = threading.Lock()
        self._lost: MienError | None = None
        self._ended = threading.Event()

    def write(
        self, *, models: str | None = None, answers: str | None = None, **given: str
    ) -> Deployed:
        """Change the journal, and in the same step what Triton serves from.

        Raises:
            Conflict: ``PROMOTION_RUNNING`` when somebody took over.
        """
        with self._lock:
            self._check()
            wanted = replace(self.journal, **given)  # type: ignore[arg-type]
            seen = self._rollout.change(
                self.journal.text(), journal=wanted.text(), models=models, answers=answers
            )
            self.journal = wanted
            return seen

    def clear(self, *, models: str | None = None, answers: str | None = None) -> None:
        """Remove the journal: all is done, or dropped.

        Raises:
            Conflict: ``PROMOTION_RUNNING`` when somebody took over. And what ``change`` raises.
        """
        with self._lock:
            self._check()
            self._ended.set()  # one try: a journal that could not be removed is settled later
            self._rollout.change(self.journal.text(), journal="", models=models, answers=answers)

    def abandon(self) -> None:
        """Leave the journal as it is: whoever finds that it stands still shall settle it."""
        self._ended.set()

    def confirm(self) -> None:
        """See that nobody has taken over, by a beat that must arrive.

        Raises:
            Conflict: ``PROMOTION_RUNNING``. Unavailable: ``CLUSTER_UNREACHABLE``.
        """
        with self._lock:
            self._check()
            self._beat()

    def _beat(self) -> None:
        wanted = replace(self.journal, beat=self.journal.beat + 1)
        self._rollout.change(self.journal.text(), journal=wanted.text())
        self.journal = wanted

    def check(self) -> None:
        """Raise ``Conflict PROMOTION_RUNNING`` when somebody took over."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def beat(self, interval_s: float) -> None:
        """Show that the owner lives, until the end."""
        while not self._ended.wait(interval_s):
            with self._lock:
                if self._ended.is_set():
                    return
                try:
                    self._beat()
                except Conflict as error:
                    self._lost = error
                    return
                except MienError as error:
                    log.warning("the promotion's journal could not be written: %s", error)

    def end(self) -> None:
        """Stop beating; a journal that is still there is dropped, if it can be."""
        if not self._ended.is_set():
            with suppress(MienError):
                self.clear()
        self._ended.set()


@contextmanager
def held(
    rollout: TritonRollout, *, taken: str = "", left: Journal | None = None, beat_s: float = 10.0
) -> Iterator[Held]:
    """Hold the right to change who is champion, the only one of all replicas.

    Args:
        rollout: of Triton.
        taken: the journal of an owner that died; "" = there must be none.
        left: the same, read, to go on with.
        beat_s: seconds between two beats.

    Raises:
        Conflict: ``PROMOTION_RUNNING``.
    """
    journal = replace(left or Journal(""), owner=uuid4().hex)
    rollout.change(taken, journal=journal.text())
    mine = Held(rollout, journal)
    thread = threading.Thread(target=mine.beat, args=(beat_s,), name="promotion-beat", daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        mine.end()


class Patience:
    """Tells when a journal has lost its owner: it stood still for long, by this clock alone."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._text, self._since = "", 0.0

    def over(self, text: str) -> bool:
        """Tell whether whoever looks shall take over."""
        if text != self._text:
            self._text, self._since = text, time.monotonic()
        if not text:
            return False
        return time.monotonic() - self._since > self._stale_s

"""Promotion where several replicas of Triton serve: a new prefix, a rollout, the alias.

The promoted models are a prefix that never changes. Triton's Deployment is rolled over to it while
the old replicas serve; every new one must give the golden answers; then the alias moves, which is
the commit. Each prefix holds the champion and the one before it, so that a rollback moves the
alias alone: every replica can answer as the old model already, and the front follows by a rollout.

Every replica of the serving service follows the alias. What one of them began and did not finish
another one finishes or drops: the journal is in the Deployment.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.adapters.serving.follower import Follower, name_of
from mien.adapters.serving.journal import Held, Journal, Patience, held
from mien.adapters.serving.state import Served, State, StateFile
from mien.adapters.serving.steps import (
    Gate,
    earlier_of,
    fetch_package,
    judged,
    known_answer,
    promotion_of,
    registry_of,
    served_of,
)
from mien.adapters.serving.store import EMPTY, Catalogue, ModelStore
from mien.adapters.triton.fleet import TritonFleet
from mien.adapters.triton.repository import HostSpec, render_front, render_model
from mien.adapters.triton.rollout import Deployed, TritonRollout
from mien.core.errors import MienError
from mien.core.ports import Models
from mien.core.serving import CHAMPION, GateCheck, ModelInfo, Promotion
from mien.recognition.package import Package, Variant

log = logging.getLogger(__name__)

KEPT_ANSWERS = 20
MAX_REST_S = 300.0
FIRST_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds.

    Attributes:
        look: between two looks at alias, journal and canaries.
        beat: between two signs of life of a promotion.
        stale: without one for so long, another replica takes a promotion over.
        rollout: for a rollout; the Deployment's own deadline usually ends it sooner.
        names: until the names of new Pods are known.
    """

    look: float = 2.0
    beat: float = 10.0
    stale: float = 45.0
    rollout: float = 900.0
    names: float = 90.0


class ClusterPromoter:
    """Decides what the replicas of Triton serve; one in every replica of the service."""

    def __init__(
        self,
        home: Path,
        models: Models | None,
        fleet: TritonFleet,
        rollout: TritonRollout,
        store: ModelStore,
        *,
        gate: Gate | None = None,
        variant: Variant = "fp32",
        spec: HostSpec | None = None,
        front: str = "expression",
        pace: Pace | None = None,
    ) -> None:
        """Prepare; ``recover`` finds out where things stand.

        Args:
            home: folder for packages, of this replica alone; it may be empty at every start.
            models: the registry; None = nothing can be promoted.
            fleet: the replicas of Triton.
            rollout: their Deployment.
            store: where promoted models lie.
            gate: what a challenger must hold; None = nothing can be promoted.
            variant: of the network that is served.
            spec: how models are hosted.
            front: registered model that is served, and the name that clients ask.
            pace: how long things may take.
        """
        self.home, self.models, self.fleet = home, models, fleet
        self.rollout, self.store = rollout, store
        self.gate, self.variant, self.front = gate, variant, front
        self.spec, self.pace = spec or HostSpec(), pace or Pace()
        self.file, self.packages = StateFile(home), home / "packages"
        self.changed: Callable[[], None] = lambda: None
        self.follower = Follower(self.packages, models, fleet, rollout, store, front)
        self.follower.changed = self._tell
        self._patience = Patience(self.pace.stale)
        self._rest = (0.0, 1.0)  # what went wrong is tried again not before, and then after
        self._ended, self._look = threading.Event(), threading.Event()
        self._first = threading.Event()
        self._thread: threading.Thread | None = None
        self._settling: threading.Thread | None = None

    # What is served

    @property
    def state(self) -> State:
        """What this replica takes for served."""
        return self.follower.state

    def vacant(self) -> bool:
        """Whether nobody is champion yet: what is not ready has no name to be asked by."""
        return self.follower.vacant

    def package(self, served: Served) -> Package:
        """Open the package of a promoted model; see ``Follower.package``."""
        return self.follower.package(served)

    def problem(self) -> str | None:
        """Say why no replica of Triton can be relied on; None when one can."""
        return self.follower.problem

    def look_now(self) -> None:
        """Ask for a look at once: somebody got no answer."""
        self._look.set()

    def recover(self) -> None:
        """Begin to look where things stand; returns after the first look, if that is short."""
        self._thread = threading.Thread(target=self._watch, name="promotion", daemon=True)
        self._thread.start()
        self._first.wait(FIRST_LOOK_S)

    def stop(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._look.set()
        if self._thread is not None:
            self._thread.join(10.0)
        self.fleet.close()

    def _watch(self) -> None:
        """Follow the alias and ask the canaries; what is to be settled takes longer than a look."""
        while not self._ended.is_set():
            with _told("where promotion stands is not known just now"):
                try:
                    seen, version = self.follower.follow(away_s=0.0)
                finally:
                    self.follower.examine()
                busy = self._settling is not None and self._settling.is_alive()
                if not busy and (seen.journal or self._behind(seen, version)):
                    given = (seen, version)
                    self._settling = threading.Thread(target=self._settle, args=given, daemon=True)
                    self._settling.start()
            self._first.set()
            self._look.wait(self.pace.look)
            self._look.clear()
            self._ended.wait(self.pace.look / 10)  # however many ask for a look

    def _settle(self, seen: Deployed, version: str | None) -> None:
        """Finish or drop what is half done; what fails comes later."""
        with _told("what is half done could not be settled yet"):
            if self._patience.over(seen.journal):
                self._take_over(seen)
            elif not seen.journal and time.monotonic() > self._rest[0]:
                self._bring_to(seen, version)

    def _tell(self) -> None:
        self.changed()

    # Promotion

    def promote(self, reference: str, *, request_id: str = "", dry_run: bool = False) -> Promotion:
        """Make a model the champion; any failure leaves the old one serving.

        Raises:
            NotFound: ``UNKNOWN_MODEL``. WrongState: ``GATE_REFUSED``, ``NO_GATE``,
            ``NO_MODEL_REGISTRY``, ``ROLLOUT_FAILED``. Corrupt: ``GOLDEN_DIFFERS``,
            ``MODEL_FILES``. Conflict: ``PROMOTION_RUNNING``, ``ALIAS_MOVED``.
            Unavailable: ``TRITON_UNAVAILABLE``, ``CLUSTER_UNREACHABLE``, ``MODELS_UNAVAILABLE``.
            AlreadyExists: ``REQUEST_ID_REUSED``.
        """
        began = time.monotonic()
        models = registry_of(self.models)
        asked = f"promote {reference}{' dry' if dry_run else ''}"
        if (known := known_answer(self._answers(), request_id, asked)) is not None:
            return promotion_of(models, known)
        with held(self.rollout, beat_s=self.pace.beat) as mine:
            seen, _ = self.follower.follow()
            champion = self.state.champion
            info = models.get(reference)
            package = fetch_package(self.packages, models, info)
            before = self.package(champion) if champion else None
            checks = judged(
                self.gate, models, info, package, before, self.variant, refuse=not dry_run
            )
            again = champion is not None and champion.digest == package.digest
            if dry_run or again:
                name = name_of(seen) if again else ""
                return self._answer(mine, request_id, asked, checks, name, began, promoted=False)
            served = served_of(info, package, self.variant)
            earlier = (*self.state.earlier, champion) if champion else self.state.earlier
            name = self._publish(models, Catalogue(served, earlier))
            self._exchange(models, mine, served, name, name_of(seen))
            return self._answer(mine, request_id, asked, checks, name, began, promoted=True)

    def rollback(self, *, request_id: str = "") -> Promotion:
        """Make the champion before this one champion again, at once; the front follows.

        Raises:
            WrongState: ``NO_EARLIER_CHAMPION``, ``NO_MODEL_REGISTRY``.
            Conflict: ``PROMOTION_RUNNING``, ``ALIAS_MOVED``. Corrupt: ``GOLDEN_DIFFERS``.
            Unavailable: ``TRITON_UNAVAILABLE``, ``CLUSTER_UNREACHABLE``.
            AlreadyExists: ``REQUEST_ID_REUSED``.
        """
        began = time.monotonic()
        models = registry_of(self.models)
        if (known := known_answer(self._answers(), request_id, "rollback")) is not None:
            return promotion_of(models, known)
        with held(self.rollout, beat_s=self.pace.beat) as mine:
            seen, _ = self.follower.follow()
            target = earlier_of(self.state)
            fetch_package(self.packages, models, models.get(target.name))
            self._ask_every(target, target.hosted, seen.replicas)
            self._move(models, mine, target)
            answer = self._answer(
                mine, request_id, "rollback", (), name_of(seen), began, promoted=True
            )
        self.look_now()  # the front is brought there
        return answer

    # Steps

    def _publish(self, models: Models, catalogue: Catalogue) -> str:
        """Render and upload what replicas shall serve; returns its name."""
        folder = self.home / "rendering"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            for each in catalogue.hosted:
                package = fetch_package(self.packages, models, models.get(each.name))
                render_model(folder, package, each.version, each.hosted, each.variant, self.spec)
                if each == catalogue.champion:
                    most = self.spec.max_batch
                    render_front(folder, package.spec, self.front, each.hosted, most)
            # An object store keeps no empty folder, and a model without a version is none.
            (folder / self.front / "1" / "README").write_text("An ensemble has no files.\n")
            return self.store.keep(folder, catalogue)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _exchange(self, models: Models, mine: Held, served: Served, name: str, before: str) -> None:
        """Roll over, ask every replica, move the alias; undo on any failure before that."""
        try:
            address = self.store.address(name)
            mine.write(version=served.version, name=name, before=before, models=address)
            self._rolled(mine, served)
            self._move(models, mine, served)
        except BaseException as error:
            log.warning("promotion failed: %s", error, extra={"model": served.name})
            self._undo(mine, served, before)
            raise

    def _undo(self, mine: Held, served: Served, before: str) -> None:
        """Patch back, unless the alias has moved all the same; else whoever looks later does."""
        try:
            if self.follower.pointed() != served.version:
                mine.clear(models=self.store.address(before))
        except MienError as error:
            log.warning("not everything could be undone yet: %s", error)
            mine.abandon()

    def _rolled(self, mine: Held, served: Served) -> None:
        """Wait for the rollout, then ask every replica for the golden answers, at both names."""
        seen = self.rollout.wait(self.pace.rollout, mine.check)
        for name in (served.hosted, self.front):
            self._ask_every(served, name, seen.replicas)

    def _move(self, models: Models, mine: Held, served: Served) -> None:
        """Commit."""
        mine.confirm()
        champion = self.state.champion
        expected = champion.version if champion else None
        models.move(self.front, CHAMPION, served.version, expected=expected)
        with suppress(MienError):  # the watch follows as well
            self.follower.follow()

    def _ask_every(self, served: Served, name: str, replicas: int) -> None:
        """Ask each of so many replicas for the golden answers."""
        golden = self.package(served).golden(served.variant)
        self.fleet.agree(name, golden, replicas, within_s=self.pace.names, stop=self._ended)

    # What others left

    def _take_over(self, seen: Deployed) -> None:
        """Drop what its owner left; what is behind the alias already is finished by a look."""
        left = Journal.of(seen.journal)
        with held(self.rollout, taken=seen.journal, beat_s=self.pace.beat, left=left) as mine:
            moved = bool(left.name) and left.version == self.follower.pointed()
            back = self.store.address(left.before) if left.name and not moved else None
            mine.clear(models=back)
        told = "finished" if moved else "dropped"
        log.warning("a promotion that nobody was at any more was %s", told)

    def _behind(self, seen: Deployed, version: str | None) -> bool:
        """Whether the replicas' front is another one than the registry's champion.

        A version that is not hosted was moved to by hand, past every gate: nothing is done then.
        """
        front, champion = self.follower.catalogue(seen).champion, self.state.champion
        hosted = champion is not None and champion.version == version
        return front is None or (hosted and front.version != version)

    def _bring_to(self, seen: Deployed, version: str | None) -> None:
        """Bring the replicas' front to where the alias is, after a rollback or on a new cluster."""
        if name_of(seen) == EMPTY:
            self.store.make_empty()
        if not seen.models:  # just applied: Triton waits to be told of any repository
            self.rollout.change("", models=self.store.address(EMPTY))
        if version is None or self.models is None:
            return
        self._rest = (time.monotonic() + self._rest[1], min(2 * self._rest[1], MAX_REST_S))
        with held(self.rollout, beat_s=self.pace.beat) as mine:
            seen, version = self.follower.follow()  # somebody may have promoted since the look
            if version is not None and self._behind(seen, version):
                self._roll_to(mine, self.models.get(f"{self.front}/{version}"), seen)
        self._rest = (0.0, 1.0)
        self.look_now()

    def _roll_to(self, mine: Held, info: ModelInfo, seen: Deployed) -> None:
        models, before = registry_of(self.models), name_of(seen)
        served = served_of(info, fetch_package(self.packages, models, info), self.variant)
        left = self.follower.catalogue(seen).champion
        name = self._publish(models, Catalogue(served, self.state.earlier, left))
        try:
            mine.write(name=name, before=before, models=self.store.address(name))
            self._rolled(mine, served)
        except MienError:
            mine.clear(models=self.store.address(before))
            raise
        log.info("the replicas serve the registry's champion", extra={"model": served.name})

    # Requests

    def _answers(self) -> dict[str, Any]:
        with suppress(ValueError):  # an annotation may be edited by hand
            return dict(json.loads(self.rollout.look().answers or "{}"))
        return {}

    def _answer(
        self,
        mine: Held,
        request_id: str,
        asked: str,
        checks: Sequence[GateCheck],
        name: str,
        began: float,
        *,
        promoted: bool,
    ) -> Promotion:
        """Build the answer, and keep it where every replica of the service finds it."""
        state = self.state
        answer = {
            "asked": asked,
            "champion": state.champion.name if state.champion else "",
            "previous": state.earlier[-1].name if state.earlier else "",
            "checks": [asdict(c) for c in checks],
            "repository_digest": name,
            "took_s": round(time.monotonic() - began, 3),
            "promoted": promoted,
        }
        if request_id:
            kept = list({**self._answers(), request_id: answer}.items())[-KEPT_ANSWERS:]
            mine.write(answers=json.dumps(dict(kept)))
        return promotion_of(registry_of(self.models), answer)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Log what goes wrong in a thread that goes on."""
    try:
        yield
    except MienError as error:
        log.warning("%s: %s", what, error)
    except Exception:
        log.exception(what)

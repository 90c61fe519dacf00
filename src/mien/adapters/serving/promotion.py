"""Make a registered model the champion: gate, folder, load, golden answers, alias, front.

The alias in the model registry is the one record of who is champion: until it is moved every
failure leaves the old one serving, and a process killed afterwards finishes the move when it is
started again. Both models stay loaded; only the small front that clients ask is exchanged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from mien.adapters.serving.state import Served, State, StateFile
from mien.adapters.serving.steps import (
    GOLDEN_TIMEOUT_S,
    Gate,
    earlier_of,
    fetch_package,
    judged,
    known_answer,
    package_folder,
    promotion_of,
    registry_of,
    served_of,
)
from mien.adapters.triton.repository import HostSpec, hosted_name, render_front, render_model
from mien.core.errors import Corrupt, MienError
from mien.core.ports import ModelHost, Models
from mien.core.serving import CHAMPION, GateCheck, ModelInfo, Promotion
from mien.recognition.package import GOLDEN_TOLERANCE, Golden, Package, Variant, read_package

log = logging.getLogger(__name__)


class Promoter:
    """Decides what a host serves. One a serving folder."""

    def __init__(
        self,
        home: Path,
        models: Models | None,
        host: ModelHost,
        *,
        gate: Gate | None = None,
        variant: Variant = "fp32",
        spec: HostSpec | None = None,
        front: str = "expression",
    ) -> None:
        """Prepare; ``recover`` finds out where things stand.

        Args:
            home: folder of state, packages and repository.
            models: the registry; None = nothing can be promoted.
            host: serves the repository.
            gate: what a challenger must hold; None = nothing can be promoted.
            variant: of the network that is served.
            spec: how models are hosted.
            front: registered model that is served, and the name that clients ask.
        """
        self.home, self.models, self.host = home, models, host
        self.gate, self.variant, self.front = gate, variant, front
        self.spec = spec or HostSpec()
        self.file = StateFile(home)
        self.repository, self.packages = home / "repository", home / "packages"
        self.repository.mkdir(parents=True, exist_ok=True)
        self.changed: Callable[[], None] = lambda: None  # called when there is another champion
        self._canaries: dict[str, Golden] = {}
        # A host that is started again in the middle of an exchange must not restore what goes.
        self._front_lock = threading.RLock()

    # What is served

    @property
    def state(self) -> State:
        """What is served now."""
        return self.file.read()

    def vacant(self) -> bool:
        """Never: on one machine the service is asked to promote whether it is ready or not."""
        return False

    def package(self, served: Served) -> Package:
        """Open the package of a promoted model, verified.

        Raises:
            Corrupt: ``MODEL_FILES``.
        """
        return read_package(package_folder(self.packages, served.model, served.version))

    def canaries(self) -> Mapping[str, Golden]:
        """What the host must answer: hosted models and the front, by name."""
        return dict(self._canaries)

    def restore(self) -> None:
        """Have the host serve what the state says, after either was started again.

        Raises:
            Unavailable: ``TRITON_UNAVAILABLE``. Corrupt: ``MODEL_FILES``.
        """
        with self._front_lock:
            state = self.state
            self._canaries = {}
            if state.champion is None:
                return
            self._serve(state.champion)
            if state.earlier:
                with suppress(MienError):  # it only waits for a rollback
                    self._load(state.earlier[-1])

    def recover(self) -> None:
        """Finish or drop what a killed process had begun, then serve what is so.

        A folder without a champion takes over the one that the registry names.
        """
        try:
            with self.file.promoting():
                self._settle()
                if self.state.champion is None:
                    self._adopt()
        except MienError as error:  # the old one serves meanwhile; the next move settles it
            log.warning("what was begun could not be settled yet: %s", error)
        self.restore()

    # Promotion

    def promote(self, reference: str, *, request_id: str = "", dry_run: bool = False) -> Promotion:
        """Make a model the champion; any failure leaves the old one serving.

        Raises:
            NotFound: ``UNKNOWN_MODEL``. WrongState: ``GATE_REFUSED``, ``NO_GATE``,
            ``NO_MODEL_REGISTRY``. Corrupt: ``GOLDEN_DIFFERS``, ``MODEL_FILES``.
            Conflict: ``PROMOTION_RUNNING``, ``ALIAS_MOVED``. Unavailable: ``TRITON_UNAVAILABLE``.
            AlreadyExists: ``REQUEST_ID_REUSED``.
        """
        began = time.monotonic()
        models = registry_of(self.models)
        with self.file.promoting():
            asked = f"promote {reference}{' dry' if dry_run else ''}"
            if (known := known_answer(self.state.requests, request_id, asked)) is not None:
                return promotion_of(models, known)
            self._settle()
            champion = self.state.champion
            info = models.get(reference)
            package = fetch_package(self.packages, models, info)
            before = self.package(champion) if champion else None
            checks = judged(
                self.gate, models, info, package, before, self.variant, refuse=not dry_run
            )
            again = champion is not None and champion.digest == package.digest
            if dry_run or again:
                digest = champion.repository_digest if champion and again else ""
                return self._answer(request_id, asked, checks, digest, began, promoted=False)
            served = self._render(info, package)
            self._exchange(models, served, package, back=False)
            return self._answer(
                request_id, asked, checks, served.repository_digest, began, promoted=True
            )

    def rollback(self, *, request_id: str = "") -> Promotion:
        """Make the champion before this one champion again.

        Raises:
            WrongState: ``NO_EARLIER_CHAMPION``, ``NO_MODEL_REGISTRY``.
            Conflict: ``PROMOTION_RUNNING``, ``ALIAS_MOVED``. Unavailable: ``TRITON_UNAVAILABLE``.
            AlreadyExists: ``REQUEST_ID_REUSED``.
        """
        began = time.monotonic()
        models = registry_of(self.models)
        with self.file.promoting():
            if (known := known_answer(self.state.requests, request_id, "rollback")) is not None:
                return promotion_of(models, known)
            self._settle()
            target = earlier_of(self.state)
            self._exchange(models, target, self.package(target), back=True)
            return self._answer(
                request_id, "rollback", (), target.repository_digest, began, promoted=True
            )

    # Steps

    def _render(self, info: ModelInfo, package: Package) -> Served:
        model, version = info.lineage.model, info.lineage.model_version
        hosted = hosted_name(model, version, self.variant)
        digest = render_model(self.repository, package, version, hosted, self.variant, self.spec)
        return served_of(info, package, self.variant, digest)

    def _exchange(self, models: Models, served: Served, package: Package, *, back: bool) -> None:
        """Load, ask, move the alias, exchange the front, commit; undo on any failure."""
        state = self.state
        expected = state.champion.version if state.champion else None
        self.file.write(replace(state, moving=served, back=back))
        moved = False
        try:
            self._load(served)
            models.move(self.front, CHAMPION, served.version, expected=expected)
            moved = True
            with self._front_lock:
                self._show(served, package)
                self.file.write(self.state.moved())
        except BaseException:
            with self._front_lock:
                self._undo(models, state, served, moved=moved)
            raise
        self.changed()
        self._tidy(self.state, left=state.champion)

    def _undo(self, models: Models, state: State, served: Served, *, moved: bool) -> None:
        """Go back to what was; what fails here is finished by the next start."""
        log.warning("promotion failed; the champion stays", extra={"model": served.name})
        try:
            if moved and state.champion:
                models.move(self.front, CHAMPION, state.champion.version, expected=served.version)
            elif moved:
                return  # a first champion: its alias stands, the next start goes on
            if state.champion:
                self._serve(state.champion)
            self.file.write(state.kept())
            if served not in (state.champion, *state.earlier[-1:]):
                self._canaries.pop(served.hosted, None)
                self.host.unload(served.hosted)
        except MienError as error:
            log.warning("not everything could be undone yet: %s", error)

    def _load(self, served: Served) -> None:
        """Load a hosted model and compare its answers with the golden ones."""
        package = self.package(served)
        if served.hosted not in self.host.loaded():
            self.host.load(served.hosted)
        self._ask(served.hosted, package.golden(served.variant), served.name)
        self._canaries[served.hosted] = package.golden(served.variant)

    def _show(self, served: Served, package: Package) -> None:
        """Put a loaded model behind the name that clients ask, and ask it there."""
        self._canaries.pop(self.front, None)
        render_front(self.repository, package.spec, self.front, served.hosted, self.spec.max_batch)
        self.host.load(self.front)
        golden = package.golden(served.variant)
        self._ask(self.front, golden, served.name)
        self._canaries[self.front] = golden

    def _serve(self, served: Served) -> None:
        self._load(served)
        self._show(served, self.package(served))

    def _ask(self, name: str, golden: Golden, model: str) -> None:
        said = self.host.infer(name, golden.images, timeout_s=GOLDEN_TIMEOUT_S)
        found = golden.deviation(said)
        if not found <= GOLDEN_TOLERANCE:
            raise Corrupt(
                "GOLDEN_DIFFERS",
                f"{model}, asked as {name}, differs from its golden answers by {found:.2g}",
                hint="register the model again; look into Triton's log",
            )

    def _tidy(self, state: State, left: Served | None) -> None:
        """Unload what may no longer be asked; folders stay.

        The one that was just left stays loaded: calls to it are under way, and it may come back.
        """
        kept = {s.hosted for s in (state.champion, left, *state.earlier[-1:]) if s}
        with suppress(MienError):
            for name in self.host.loaded():
                if name.startswith(f"{self.front}-") and name not in kept:
                    self._canaries.pop(name, None)
                    self.host.unload(name)

    def _settle(self) -> None:
        """Finish or drop a move that a killed process left: the alias says which."""
        state = self.state
        if state.moving is None:
            return
        if registry_of(self.models).pointed(self.front, CHAMPION) == state.moving.version:
            with self._front_lock:
                self._serve(state.moving)
                self.file.write(state.moved())
            self.changed()
            log.warning("a promotion was finished", extra={"model": state.moving.name})
        else:
            self.file.write(state.kept())
            log.warning("a promotion was dropped", extra={"model": state.moving.name})

    def _adopt(self) -> None:
        """Take over the registry's champion where this folder has none."""
        version = self.models.pointed(self.front, CHAMPION) if self.models else None
        if version is None or self.models is None:
            return
        named = self.models.get(f"{self.front}/{version}")
        package = fetch_package(self.packages, self.models, named)
        self.file.write(replace(self.state, champion=self._render(named, package)))

    def _answer(
        self,
        request_id: str,
        asked: str,
        checks: Sequence[GateCheck],
        digest: str,
        began: float,
        *,
        promoted: bool,
    ) -> Promotion:
        state = self.state
        answer = {
            "asked": asked,
            "champion": state.champion.name if state.champion else "",
            "previous": state.earlier[-1].name if state.earlier else "",
            "checks": [asdict(c) for c in checks],
            "repository_digest": digest,
            "took_s": round(time.monotonic() - began, 3),
            "promoted": promoted,
        }
        if request_id:
            self.file.write(state.answered(request_id, answer))
        return promotion_of(registry_of(self.models), answer)

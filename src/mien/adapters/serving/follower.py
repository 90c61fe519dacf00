"""What a replica of the serving service takes for served: the registry's alias, followed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from mien.adapters.serving.state import Served, State
from mien.adapters.serving.steps import fetch_package, package_folder
from mien.adapters.serving.store import EMPTY, Catalogue, ModelStore
from mien.adapters.triton.fleet import TritonFleet
from mien.adapters.triton.rollout import Deployed, TritonRollout
from mien.core.errors import MienError
from mien.core.ports import Models
from mien.core.serving import CHAMPION
from mien.recognition.package import Package, read_package

log = logging.getLogger(__name__)

CANARY_S, CANARY_TOLERANCE = 10.0, 1e-3


class Follower:
    """Looks at alias, Deployment and replicas; changes none of them."""

    def __init__(
        self,
        packages: Path,
        models: Models | None,
        fleet: TritonFleet,
        rollout: TritonRollout,
        store: ModelStore,
        front: str,
    ) -> None:
        """Prepare; nothing is looked at yet.

        Args:
            packages: folder for what is fetched from the registry.
            models: the registry, or None.
            fleet: the replicas of Triton.
            rollout: their Deployment.
            store: where promoted models lie.
            front: registered model that is served.
        """
        self.packages, self.models, self.fleet = packages, models, fleet
        self.rollout, self.store, self.front = rollout, store, front
        self.state = State()
        self.changed: Callable[[], None] = lambda: None
        self.problem: str | None = "it has not been looked at"
        self.vacant = False  # it was looked, and the registry names no champion
        self._catalogues: dict[str, Catalogue] = {}
        self._lock = threading.Lock()

    def package(self, served: Served) -> Package:
        """Open the package of a promoted model, verified.

        Raises:
            Corrupt: ``MODEL_FILES``. NotFound: ``PACKAGE_MISSING``.
        """
        return read_package(package_folder(self.packages, served.model, served.version))

    def pointed(self) -> str | None:
        """Return the version that the registry calls champion."""
        return self.models.pointed(self.front, CHAMPION) if self.models else None

    def catalogue(self, seen: Deployed) -> Catalogue:
        """Read which models the Deployment serves; what a name means never changes."""
        name = name_of(seen)
        if name not in self._catalogues:
            self._catalogues = {name: self.store.catalogue(name)}
        return self._catalogues[name]

    def follow(self, away_s: float | None = None) -> tuple[Deployed, str | None]:
        """Serve what the registry's alias names, as soon as the replicas host it.

        Args:
            away_s: how long the API server may be away; None = as ever.

        Returns:
            The Deployment as it was found, and the version that the alias points at.

        Raises:
            Unavailable: ``CLUSTER_UNREACHABLE``, ``MODELS_UNAVAILABLE``. Corrupt: ``MODEL_FILES``.
            And what the registry raises.
        """
        with self._lock:
            version = self.pointed()  # first: what it names is hosted before it is moved there
            seen = self.rollout.look(away_s)
            found = self.catalogue(seen).state(version)
            before = self.state.champion
            self.vacant = version is None and before is None
            if found.champion is None:
                if version is not None:
                    log.warning("the registry's champion %s is not hosted", version)
                return seen, version
            if found.champion != before and self.models is not None:
                info = self.models.get(f"{self.front}/{version}")
                fetch_package(self.packages, self.models, info)
            self.state = found
        if found.champion != before:
            self.changed()
        return seen, version

    def examine(self) -> None:
        """Ask every replica for the champion's golden answers; see ``problem``."""
        self.problem = self._wrong()

    def _wrong(self) -> str | None:
        if not self.fleet.refresh():
            return "no replica is known"
        champion = self.state.champion
        if champion is None:
            return None
        try:
            golden = self.package(champion).golden(champion.variant)
        except MienError as error:
            return str(error)
        wrong = self.fleet.examine(
            {champion.hosted: golden}, timeout_s=CANARY_S, tolerance=CANARY_TOLERANCE
        )
        if wrong:
            log.warning("replicas of Triton do not answer as they should: %s", wrong)
        return wrong if not self.fleet.reliable() else None


def name_of(seen: Deployed) -> str:
    """Name of the promoted repository that Triton is told to serve from; ``empty`` at first."""
    return seen.models.rstrip("/").rpartition("/")[2] or EMPTY

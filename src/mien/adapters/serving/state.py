"""Which models a serving folder serves, and what was under way when its process died."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mien.core.errors import Conflict, Corrupt, WrongState
from mien.recognition.package import Variant
from mien.registry.staging import sync

STATE, PROMOTING, OWNER = "state.json", "promoting.lock", "owner.lock"
KEPT_REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Served:
    """A promoted model in the repository.

    Attributes:
        model: name of the registered model.
        version: its version.
        digest: of its package.
        hosted: name of its folder in the repository.
        variant: of the network.
        repository_digest: of that folder.
        run_id: of the run that it was registered under.
    """

    model: str
    version: str
    digest: str
    hosted: str
    variant: Variant
    repository_digest: str
    run_id: str = ""

    @property
    def name(self) -> str:
        """Name and version, ``expression/7``."""
        return f"{self.model}/{self.version}"


@dataclass(frozen=True, slots=True)
class State:
    """What is served.

    Attributes:
        champion: served now; None before the first promotion.
        earlier: champions before it, the last one last.
        moving: a promotion or rollback that was begun: what shall be champion.
        back: it is a rollback.
        requests: request id → what was asked and what came of it.
    """

    champion: Served | None = None
    earlier: tuple[Served, ...] = ()
    moving: Served | None = None
    back: bool = False
    requests: dict[str, Any] = field(default_factory=dict)

    def moved(self) -> State:
        """Return the state once what was begun is done."""
        if self.moving is None:
            return self
        if self.back:
            earlier = self.earlier[:-1]
        else:
            earlier = (*self.earlier, self.champion) if self.champion else self.earlier
        return replace(self, champion=self.moving, earlier=earlier, moving=None, back=False)

    def kept(self) -> State:
        """Return the state as if nothing had been begun."""
        return replace(self, moving=None, back=False)

    def answered(self, request_id: str, answer: dict[str, Any]) -> State:
        """Remember the answer to a request; the oldest are forgotten."""
        known = {**self.requests, request_id: answer} if request_id else self.requests
        return replace(self, requests=dict(list(known.items())[-KEPT_REQUESTS:]))


class StateFile:
    """The state in a folder; every change is whole, and on the disk before anything follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> State:
        """Read it; empty where there is none yet.

        Raises:
            Corrupt: ``SERVING_STATE``.
        """
        try:
            text = (self.folder / STATE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return State()
        try:
            values = json.loads(text)
            one = {k: _served(values[k]) for k in ("champion", "moving")}
            earlier = tuple(Served(**each) for each in values["earlier"])
            return State(**one, earlier=earlier, back=values["back"], requests=values["requests"])
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                "SERVING_STATE",
                f"{self.folder / STATE} is damaged: {error}",
                hint="remove it: the champion is taken from the model registry again",
            ) from None

    def write(self, state: State) -> None:
        """Replace it, in one step."""
        temporary = self.folder / f".{STATE}.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(state), file, indent=1)
        sync(temporary)
        temporary.replace(self.folder / STATE)
        sync(self.folder)

    @contextmanager
    def promoting(self) -> Iterator[None]:
        """Hold the right to change who is champion.

        Raises:
            Conflict: ``PROMOTION_RUNNING``.
        """
        refusal = Conflict(
            "PROMOTION_RUNNING",
            "another promotion or rollback is under way",
            hint="wait for its end, and look who is champion",
        )
        with _locked(self.folder / PROMOTING, refusal):
            yield

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder as the one process that serves from it.

        Raises:
            WrongState: ``SERVING_RUNS``.
        """
        refusal = WrongState(
            "SERVING_RUNS",
            f"another process serves from {self.folder}",
            hint="ask it: MIEN_SERVING_TARGET=<its address>, usually 127.0.0.1:7104",
        )
        with _locked(self.folder / OWNER, refusal):
            yield


def _served(value: dict[str, Any] | None) -> Served | None:
    return None if value is None else Served(**value)


@contextmanager
def _locked(path: Path, refusal: Exception) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise refusal from None
        yield
    finally:
        os.close(handle)

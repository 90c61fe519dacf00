"""Every replica of Triton behind one name: calls in turn, golden questions to each.

gRPC's ``round_robin`` would spread the calls as well, but it asks for the addresses again only
when a connection breaks, and keeps a replica whose models are dead: Triton calls that one ready.
So the addresses are looked up here, every few seconds, and a replica that fails its canary is
asked last.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from mien.adapters.serving.steps import GOLDEN_TIMEOUT_S
from mien.adapters.triton.client import TritonClient
from mien.core.arrays import Float, UInt8
from mien.core.errors import Corrupt, Exhausted, MienError, NotFound, Unavailable
from mien.recognition.package import GOLDEN_TOLERANCE, Golden

log = logging.getLogger(__name__)

Resolve = Callable[[], Sequence[str]]
DNS, LIST = "dns:///", "ipv4:"


class TritonFleet:
    """A ``ModelHost`` over all replicas."""

    def __init__(self, target: str, *, resolve: Resolve | None = None) -> None:
        """Prepare; nothing is contacted yet.

        Args:
            target: ``dns:///<headless service>:<port>``, ``ipv4:<address>:<port>,…`` or
                ``host:port``.
            resolve: finds the replicas' ``host:port``; by default the target's own names.
        """
        self.target = target
        self._resolve = resolve or (lambda: addresses_of(target))
        self._clients: dict[str, TritonClient] = {}
        self._wrong: dict[str, str] = {}  # address → what was wrong with it
        self._turn = itertools.count()
        self._lock = threading.Lock()

    def addresses(self) -> tuple[str, ...]:
        """Replicas that are known now."""
        with self._lock:
            return tuple(self._clients)

    def refresh(self) -> tuple[str, ...]:
        """Look the replicas up; returns them. When nobody can say, those that are known stay."""
        try:
            found = tuple(dict.fromkeys(self._resolve()))
        except OSError as error:
            log.warning("the replicas of Triton could not be looked up: %s", error)
            return self.addresses()
        with self._lock:
            # Who is dropped here closes its channel when its last call has ended.
            self._clients = {a: self._clients.get(a) or TritonClient(a) for a in found}
            self._wrong = {a: why for a, why in self._wrong.items() if a in found}
        return found

    def close(self) -> None:
        """Close all channels."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients = {}

    # As one host

    def infer(self, model: str, images: UInt8, *, timeout_s: float) -> Mapping[str, Float]:
        """Ask one replica, the next one each time; another where that one cannot answer.

        Raises:
            Exhausted: ``QUEUE_FULL`` of every replica. Unavailable: ``TRITON_UNAVAILABLE``.
            NotFound: ``MODEL_NOT_LOADED``. Invalid: ``IMAGE_SIZE``.
        """
        until = time.monotonic() + timeout_s
        failed: MienError | None = None
        tried: set[TritonClient] = set()
        for _ in range(2):
            for client in [c for c in self._in_turn() if c not in tried]:
                left = until - time.monotonic()
                if failed is not None and left <= 0:
                    raise failed
                tried.add(client)
                try:
                    return client.infer(model, images, timeout_s=max(left, 0.001))
                except (Unavailable, NotFound, Exhausted) as error:
                    failed = error
            self.refresh()  # all that were known may have been replaced since
        raise failed or self._nobody()

    def load(self, model: str) -> None:
        """Load a model on every replica, or say which one would not."""
        for client in self._everybody():
            client.load(model)

    def unload(self, model: str) -> None:
        """Unload a model on every replica."""
        for client in self._everybody():
            client.unload(model)

    def loaded(self) -> Sequence[str]:
        """Names of the models that are ready on every replica that answers.

        Raises:
            Unavailable: ``TRITON_UNAVAILABLE`` when none does.
        """
        said: list[set[str]] = []
        failed: MienError = self._nobody()
        for client in self._everybody():
            try:
                said.append(set(client.loaded()))
            except Unavailable as error:
                failed = error
        if not said:
            raise failed
        return sorted(set.intersection(*said))

    # Each for itself

    def ask_each(
        self, model: str, golden: Golden, *, timeout_s: float, tolerance: float = GOLDEN_TOLERANCE
    ) -> dict[str, MienError | float]:
        """Ask every replica the golden question.

        Returns:
            Address → its error, or how far its answers deviate where that is too far; replicas
            that answer as they should are not in it.
        """
        with self._lock:
            asked = dict(self._clients)
        wrong: dict[str, MienError | float] = {}
        for address, client in asked.items():
            try:
                found = golden.deviation(client.infer(model, golden.images, timeout_s=timeout_s))
            except MienError as error:
                wrong[address] = error
                continue
            if not found <= tolerance:
                wrong[address] = found
        return wrong

    def agree(
        self,
        model: str,
        golden: Golden,
        replicas: int,
        *,
        within_s: float,
        stop: threading.Event,
    ) -> None:
        """See that each of so many replicas gives the golden answers.

        Names of Pods that came or went lag behind a little: what is missing is waited for, what
        is wrong is not.

        Raises:
            Corrupt: ``GOLDEN_DIFFERS``. Unavailable: ``TRITON_UNAVAILABLE``.
        """
        until = time.monotonic() + within_s
        while True:
            known = self.refresh()
            wrong = self.ask_each(model, golden, timeout_s=GOLDEN_TIMEOUT_S)
            for address, why in wrong.items():
                if isinstance(why, float):
                    raise Corrupt(
                        "GOLDEN_DIFFERS",
                        f"{model} at {address} differs from its golden answers by {why:.2g}",
                        hint="register the model again; look into that replica's log",
                    )
            if len(known) == replicas > 0 and not wrong:
                return
            if time.monotonic() > until or stop.is_set():
                told = "; ".join(f"{a}: {why}" for a, why in wrong.items())
                raise Unavailable(
                    "TRITON_UNAVAILABLE",
                    f"{len(known)} of {replicas} replicas are known, {len(wrong)} do not answer "
                    f"for {model}: {told}",
                    hint="the champion goes on serving; look into the logs of Triton's Pods",
                )
            stop.wait(0.5)

    def examine(self, canaries: Mapping[str, Golden], *, timeout_s: float, tolerance: float) -> str:
        """Ask every replica every canary; those that fail are asked last from now on.

        Returns:
            What is wrong, "" when every replica answers as it should.
        """
        found: dict[str, str] = {}
        for model, golden in canaries.items():
            asked = self.ask_each(model, golden, timeout_s=timeout_s, tolerance=tolerance)
            for address, why in asked.items():
                if not isinstance(why, Exhausted):  # it answers others
                    said = f"answers differ by {why:.2g}" if isinstance(why, float) else str(why)
                    found.setdefault(address, f"{model}: {said}")
        with self._lock:
            self._wrong = found
        return "; ".join(f"{address}: {why}" for address, why in found.items())

    def reliable(self) -> int:
        """How many replicas answered every canary at the last look."""
        with self._lock:
            return sum(address not in self._wrong for address in self._clients)

    def _in_turn(self) -> list[TritonClient]:
        """All replicas, the next one first, those in doubt last."""
        with self._lock:
            known = list(self._clients.items())
            start = next(self._turn) % len(known) if known else 0
            wrong = set(self._wrong)
        turned = known[start:] + known[:start]
        return [c for _, c in sorted(turned, key=lambda each: each[0] in wrong)]

    def _everybody(self) -> list[TritonClient]:
        self.refresh()
        with self._lock:
            return list(self._clients.values())

    def _nobody(self) -> Unavailable:
        return Unavailable(
            "TRITON_UNAVAILABLE",
            f"no replica of Triton is known at {self.target}",
            hint="ask again in a moment; see whether its Pods are ready",
            details={"retry_after_s": "1"},
        )


def addresses_of(target: str) -> list[str]:
    """Look up every address behind a target; a name of a headless Service has one a Pod.

    Raises:
        OSError: nobody can say.
    """
    if target.startswith(LIST):
        return target.removeprefix(LIST).split(",")
    host, _, port = target.removeprefix(DNS).rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    hosts = sorted({str(each[4][0]) for each in found})
    return [f"[{h}]:{port}" if ":" in h else f"{h}:{port}" for h in hosts]

"""Recognise with the champion: decode, detect, align, ask the host, say what came of it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.adapters.serving.state import Served
from mien.adapters.serving.steps import Promotes, registry_of
from mien.core.arrays import Float, UInt8
from mien.core.errors import Invalid, MienError, NotFound, WrongState
from mien.core.expression import Affect
from mien.core.face import Box, Face
from mien.core.ports import ModelHost, Models
from mien.core.serving import (
    MAX_IMAGE_BYTES,
    MODEL,
    ModelInfo,
    ModelLineage,
    Promotion,
    Query,
    RecognisedFace,
    Recognition,
    Refusal,
)
from mien.recognition.package import PackageSpec

if TYPE_CHECKING:
    from mien.imaging.detect import Detector

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
AHEAD = 4  # pictures of a stream that are under way at once
_UNREADABLE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Champion:
    """The model that answers now, with all that is needed to ask it.

    Attributes:
        served: which one it is.
        spec: how pictures become its input and answers labels.
        lineage: of its answers.
        threads: keeps a detector for each thread: OpenCV's are not shared.
    """

    served: Served
    spec: PackageSpec
    lineage: ModelLineage
    threads: threading.local


Observe = Callable[[Champion, Mapping[str, Float] | None], None]


class LocalServing:
    """A ``Serving`` in this process, over a host of models and a registry of them."""

    def __init__(
        self,
        promoter: Promotes,
        host: ModelHost,
        models: Models | None,
        *,
        assets: Path | None = None,
        stream_ahead: int = AHEAD,
    ) -> None:
        """Prepare; nothing is loaded yet.

        Args:
            promoter: knows the champion.
            host: has it loaded.
            models: the registry, or None.
            assets: folder of open assets, for the model's detector.
            stream_ahead: pictures of a stream that are under way at once.
        """
        self.promoter, self.host, self.models_ = promoter, host, models
        self._assets, self._ahead = assets, stream_ahead
        self._trouble: Callable[[], str | None] = lambda: None
        self._look: Callable[[], None] = lambda: None
        # Told what the champion said of each picture, None where it shows no face.
        self.observe: Observe = lambda _champion, _said: None
        self._champion: Champion | None = None
        promoter.changed = self._changed

    # Recognising

    def recognise(self, query: Query, *, timeout_s: float = TIMEOUT_S) -> Recognition:
        """Find the faces of a picture and judge each.

        Raises:
            Invalid: ``IMAGE``, with the finer reason in the details. WrongState: ``NO_CHAMPION``.
            Exhausted: ``QUEUE_FULL``. Unavailable: ``TRITON_UNAVAILABLE``.
        """
        champion = self.champion()
        found = self.prepare(query, champion)
        images = np.stack([image for image, _ in found]) if found else None
        if images is None:
            self.observe(champion, None)
            return Recognition(query.id, (), champion.lineage)
        said = self._ask(champion, images, timeout_s)
        self.observe(champion, said)
        threshold = champion.spec.threshold if query.threshold is None else query.threshold
        faces = tuple(
            _judged(champion.spec, {k: v[i] for k, v in said.items()}, face, threshold)
            for i, (_, face) in enumerate(found)
        )
        return Recognition(query.id, faces, champion.lineage)

    def prepare(self, query: Query, champion: Champion) -> list[tuple[UInt8, Face]]:
        """Turn a picture into the network's inputs, exactly as training does.

        Returns:
            For each face, largest first: (S, S[, 3]) uint8, and where it is.

        Raises:
            Invalid: ``IMAGE``.
        """
        from mien.imaging.decode import LIMITS, decode
        from mien.imaging.preprocess import preprocess_faces

        try:
            image = decode(query.image, limits=replace(LIMITS, max_bytes=MAX_IMAGE_BYTES))
        except Invalid as error:
            raise Invalid(
                _UNREADABLE,
                error.message,
                hint=error.hint or "send PNG, JPEG, WebP, TIFF or BMP",
                details={**error.details, "image": error.reason},
            ) from None
        spec = champion.spec.preprocess
        made = preprocess_faces(image, spec, self._detector(champion), most=query.max_faces)
        height, width = image.shape[:2]
        whole = Face(Box(0.0, 0.0, float(width), float(height)), 1.0)
        return [(m.image, m.face or whole) for m in made if m.image is not None]

    def recognise_stream(
        self, queries: Iterable[Query | Refusal]
    ) -> Iterator[Recognition | Refusal]:
        """Judge pictures in order, a few at once; a bad one is refused and ends nothing.

        An answer is handed out as soon as it is ready, whether or not another picture has come.

        Args:
            queries: pictures; a refusal among them is handed on in its place.

        Raises:
            WrongState: ``NO_CHAMPION``. Exhausted: ``QUEUE_FULL``.
            Unavailable: ``TRITON_UNAVAILABLE``. And what ``queries`` itself raises.
        """
        self.champion()
        with ThreadPoolExecutor(self._ahead, thread_name_prefix="recognise") as pool:
            yield from in_order(queries, lambda q: pool.submit(self._or_refusal, q), self._ahead)

    def _or_refusal(self, query: Query | Refusal) -> Recognition | Refusal:
        if isinstance(query, Refusal):
            return query
        try:
            return self.recognise(query)
        except Invalid as error:
            return Refusal(query.id, error.reason, error.message, error.hint)

    def _ask(self, champion: Champion, images: UInt8, timeout_s: float) -> dict[str, Float]:
        """Ask in pieces that the host takes: one picture may show a crowd."""
        most = self.promoter.spec.max_batch
        try:
            parts = [
                self.host.infer(
                    champion.served.hosted, images[start : start + most], timeout_s=timeout_s
                )
                for start in range(0, len(images), most)
            ]
        except MienError as error:
            if error.reason in ("TRITON_UNAVAILABLE", "MODEL_NOT_LOADED"):
                self._look()
            if isinstance(error, NotFound):
                raise _not_yet(error) from None
            raise
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _detector(self, champion: Champion) -> Detector:
        found: Detector | None = getattr(champion.threads, "detector", None)
        if found is None:
            from mien.imaging.detect import make_detector

            found = champion.threads.detector = make_detector(
                champion.spec.preprocess, self._assets
            )
        return found

    # Who is champion

    def champion(self) -> Champion:
        """Return the model that answers now.

        Raises:
            WrongState: ``NO_CHAMPION``.
        """
        known = self._champion
        if known is None:
            known = self._champion = self._read_champion()
        return known

    def _read_champion(self) -> Champion:
        served = self.promoter.state.champion
        if served is None:
            raise WrongState(
                "NO_CHAMPION",
                "no model is champion yet",
                hint="run: mien register, then mien promote expression@challenger",
            )
        package = self.promoter.package(served)
        lineage = ModelLineage(
            served.model,
            served.version,
            served.digest,
            package.spec.dataset_digest,
            served.run_id,
            package.spec.preprocess.digest,
        )
        return Champion(served, package.spec, lineage, threading.local())

    def watch(self, trouble: Callable[[], str | None], look: Callable[[], None]) -> None:
        """Take over what a host's watchman sees, and call him when there is no answer."""
        self._trouble, self._look = trouble, look

    def problem(self) -> str | None:
        """Say why nothing can be recognised; None when it can."""
        if (trouble := self._trouble()) is not None:
            return f"Triton: {trouble}"
        if self.promoter.vacant():
            return None
        try:
            champion = self.champion()
            if champion.served.hosted not in self.host.loaded():
                return f"{champion.served.hosted} is not loaded"
        except MienError as error:
            return str(error)
        return None

    def _changed(self) -> None:
        self._champion = None

    def recover(self) -> None:
        """Find out where things stand, and serve what is so."""
        self.promoter.recover()
        self._champion = None

    def promote(self, model: str, *, request_id: str = "", dry_run: bool = False) -> Promotion:
        """Make a registered model the champion; see ``Promotes.promote``."""
        _one_model(model.partition("/")[0].partition("@")[0])
        made = self.promoter.promote(model, request_id=request_id, dry_run=dry_run)
        return self._with_loaded(made)

    def rollback(self, model: str = MODEL, *, request_id: str = "") -> Promotion:
        """Make the champion before this one champion again; see ``Promotes.rollback``."""
        _one_model(model or MODEL)
        return self._with_loaded(self.promoter.rollback(request_id=request_id))

    # Models

    def model(self, name: str) -> ModelInfo:
        """Read a registered model.

        Raises:
            NotFound: ``UNKNOWN_MODEL``. Invalid: ``MODEL_NAME``. WrongState: ``NO_MODEL_REGISTRY``.
        """
        return self._seen(registry_of(self.models_).get(name))

    def models(self) -> Sequence[ModelInfo]:
        """List registered models, newest first.

        Raises:
            WrongState: ``NO_MODEL_REGISTRY``.
        """
        found, loaded = registry_of(self.models_).versions(), self._loaded()
        return [self._seen(m, loaded) for m in found]

    def _with_loaded(self, made: Promotion) -> Promotion:
        champion, previous = (
            None if m is None else self._seen(m) for m in (made.champion, made.previous)
        )
        return replace(made, champion=champion, previous=previous)

    def _seen(self, info: ModelInfo, loaded: Sequence[str] | None = None) -> ModelInfo:
        state = self.promoter.state
        hosted = {s.name: s.hosted for s in (state.champion, *state.earlier) if s}
        there = self._loaded() if loaded is None else loaded
        return replace(info, loaded=hosted.get(info.name) in there)

    def _loaded(self) -> Sequence[str]:
        try:
            return self.host.loaded()
        except MienError:
            return ()


def in_order(
    given: Iterable[Query | Refusal],
    begin: Callable[[Query | Refusal], Future[Recognition | Refusal]],
    ahead: int,
) -> Iterator[Recognition | Refusal]:
    """Begin a few at once and hand answers out in order, reading on another thread.

    Args:
        given: what to begin.
        begin: begins one.
        ahead: how many are under way at once, at most.
    """
    under_way: queue.Queue[Future[Recognition | Refusal] | None] = queue.Queue(ahead)
    failed: list[BaseException] = []
    over = threading.Event()

    def put(future: Future[Recognition | Refusal] | None) -> bool:
        while not over.is_set():
            with suppress(queue.Full):
                under_way.put(future, timeout=0.2)
                return True
        return False

    def read() -> None:
        try:
            for each in given:
                if over.is_set() or not put(begin(each)):
                    return
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            failed.append(error)
        finally:
            put(None)

    threading.Thread(target=read, name="recognise-read", daemon=True).start()
    try:
        while (future := under_way.get()) is not None:
            yield future.result()
        if failed:
            raise failed[0]
    finally:
        over.set()


def _judged(
    spec: PackageSpec, said: dict[str, Float], face: Face, threshold: float
) -> RecognisedFace:
    probabilities = {
        e: float(p) for e, p in zip(spec.expressions, said.get("probabilities", ()), strict=True)
    }
    best = max(probabilities, key=lambda e: probabilities[e]) if probabilities else None
    abstained = best is not None and probabilities[best] < threshold
    affect = None
    if spec.affect:
        valence, arousal = (float(np.clip(v, -1.0, 1.0)) for v in said["affect"])
        affect = Affect(valence, arousal)
    return RecognisedFace(
        box=face.box,
        detection_score=float(face.score),
        expression=None if abstained else best,
        probabilities=probabilities,
        abstained=abstained,
        affect=affect,
    )


def _not_yet(error: NotFound) -> MienError:
    from mien.core.errors import Unavailable

    return Unavailable(
        "TRITON_UNAVAILABLE",
        f"the champion is not loaded at this moment: {error.message}",
        hint="ask again in a moment",
        details={"retry_after_s": "1"},
    )


def _one_model(name: str) -> None:
    if name != MODEL:
        raise NotFound(
            "UNKNOWN_MODEL", f"{name!r} is not served here", hint=f"`{MODEL}` is the model served"
        )

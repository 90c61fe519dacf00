"""The ``Serving`` port over the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import grpc

from mien.api.serving.v1 import serving_pb2 as pb
from mien.api.serving.v1.serving_pb2_grpc import ServingServiceStub
from mien.core.serving import MODEL, ModelInfo, Promotion, Query, Recognition, Refusal
from mien.wire.channel import translated
from mien.wire.serving import (
    model_of,
    outcome_of,
    promotion_of,
    query_message,
    recognition_of,
)
from mien.wire.streams import Outgoing, begun, pages

_PAGE = 1000
_PROMOTION_S = 1800.0  # gate, copy, load, golden inference


class ServingClient:
    """A serving service, used as serving in this process.

    Args:
        channel: to the service, from ``mien.wire.channel.open_channel``.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = ServingServiceStub(channel)

    def recognise(self, query: Query) -> Recognition:
        """Find the faces of a picture and judge each.

        Raises:
            Invalid: what is wrong with the picture. WrongState: ``NO_CHAMPION``.
            Unavailable: ``TRITON_UNAVAILABLE``. Exhausted: ``QUEUE_FULL``.
        """
        with translated():
            return recognition_of(self._stub.RecogniseExpression(query_message(query)))

    def recognise_stream(self, queries: Iterable[Query]) -> Iterator[Recognition | Refusal]:
        """Judge pictures in order; a bad one is refused and does not end the stream.

        Answers come as they are ready: ``queries`` is read ahead of them, on another thread.

        Raises:
            As ``recognise``, but for pictures; and what ``queries`` itself raises.
        """

        def messages(given: Iterator[Query]) -> Iterator[pb.RecogniseStreamRequest]:
            for query in given:
                yield pb.RecogniseStreamRequest(query=query_message(query))

        outgoing = Outgoing(queries, messages)
        with outgoing.blame():
            yield from begun(self._stub.RecogniseStream(iter(outgoing)), outcome_of)

    def promote(self, model: str, *, request_id: str = "", dry_run: bool = False) -> Promotion:
        """Make a registered model the champion, through the gate; any failure changes nothing.

        Raises:
            NotFound: ``UNKNOWN_MODEL``. WrongState: ``GATE_REFUSED``, ``NO_MODEL_REGISTRY``.
            Forbidden: without the role of a promoter.
        """
        request = pb.PromoteModelRequest(model=model, request_id=request_id, dry_run=dry_run)
        with translated():
            return promotion_of(self._stub.PromoteModel(request, timeout=_PROMOTION_S))

    def rollback(self, model: str = MODEL, *, request_id: str = "") -> Promotion:
        """Make the champion before this one champion again.

        Raises:
            WrongState: ``NO_EARLIER_CHAMPION``. Forbidden: without the role of a promoter.
        """
        request = pb.RollbackModelRequest(model=model, request_id=request_id)
        with translated():
            return promotion_of(self._stub.RollbackModel(request, timeout=_PROMOTION_S))

    def model(self, name: str) -> ModelInfo:
        """Read a registered model; ``NotFound UNKNOWN_MODEL``."""
        with translated():
            return model_of(self._stub.GetModel(pb.GetModelRequest(name=name)))

    def models(self) -> Sequence[ModelInfo]:
        """List registered models, newest first; ``WrongState NO_MODEL_REGISTRY``."""
        request = pb.ListModelsRequest(page_size=_PAGE)
        return [
            model_of(message)
            for page in pages(self._stub.ListModels, request)
            for message in page.models
        ]

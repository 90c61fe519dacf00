"""Messages to the ``Serving`` port and back; nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import grpc

from mien.adapters.serving.local import TIMEOUT_S, LocalServing
from mien.api.serving.v1 import serving_pb2 as pb
from mien.api.serving.v1.serving_pb2_grpc import ServingServiceServicer
from mien.core.errors import Invalid
from mien.core.pages import page_of
from mien.core.serving import MODEL, Query, Refusal
from mien.wire.serving import (
    model_message,
    outcome_message,
    promotion_message,
    query_of,
    recognition_message,
)

MARGIN_S = 0.05  # kept back from the caller's deadline, to say that it was not met


class ServingServicer(ServingServiceServicer):
    """The serving service over serving in this process."""

    def __init__(self, serving: LocalServing) -> None:
        self.serving = serving

    def RecogniseExpression(  # noqa: D102
        self, request: pb.RecogniseExpressionRequest, context: grpc.ServicerContext
    ) -> pb.RecogniseExpressionResponse:
        left = context.time_remaining()
        timeout_s = TIMEOUT_S if left is None else max(MARGIN_S, min(left - MARGIN_S, TIMEOUT_S))
        found = self.serving.recognise(query_of(request), timeout_s=timeout_s)
        return recognition_message(found)

    def RecogniseStream(  # noqa: D102
        self,
        request_iterator: Iterable[pb.RecogniseStreamRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[pb.RecogniseStreamResponse]:
        queries = (_query_or_refusal(r.query) for r in request_iterator)
        for found in self.serving.recognise_stream(queries):
            yield outcome_message(found)

    def PromoteModel(  # noqa: D102
        self,
        request: pb.PromoteModelRequest,
        context: grpc.ServicerContext,
    ) -> pb.Promotion:
        return promotion_message(
            self.serving.promote(
                request.model, request_id=request.request_id, dry_run=request.dry_run
            )
        )

    def RollbackModel(  # noqa: D102
        self,
        request: pb.RollbackModelRequest,
        context: grpc.ServicerContext,
    ) -> pb.Promotion:
        made = self.serving.rollback(request.model or MODEL, request_id=request.request_id)
        return promotion_message(made)

    def GetModel(  # noqa: D102
        self,
        request: pb.GetModelRequest,
        context: grpc.ServicerContext,
    ) -> pb.Model:
        return model_message(self.serving.model(request.name))

    def ListModels(  # noqa: D102
        self,
        request: pb.ListModelsRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListModelsResponse:
        found, token = page_of(
            self.serving.models(),
            lambda model: model.name,
            "models",
            request.page_size,
            request.page_token,
        )
        return pb.ListModelsResponse(
            models=[model_message(m) for m in found], next_page_token=token
        )


def _query_or_refusal(message: pb.RecogniseExpressionRequest) -> Query | Refusal:
    try:
        return query_of(message)
    except Invalid as error:
        return Refusal(message.id, error.reason, error.message, error.hint)

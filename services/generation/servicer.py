"""Messages to the ports of generation, and back. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import grpc

from mien.api.generation.v1 import generation_pb2 as pb
from mien.api.generation.v1.generation_pb2_grpc import GenerationServiceServicer
from mien.core.errors import Interrupted, Invalid
from mien.core.generation import MadeFace, Photo, WantedFace
from mien.core.jobs import Job
from mien.core.pages import page_of
from mien.core.ports import Generation, GenerationJobs
from mien.wire.faces import affect_of, expression_of
from mien.wire.generation import (
    engine_message,
    face_message,
    generation_job_message,
    generator_message,
    look_of,
    params_of,
    photo_of,
    plan_of,
    wanted_of,
)
from mien.wire.streams import ACCEPTED
from services.chassis.frame import Frame
from services.chassis.refusal import without_paths


class GenerationServicer(GenerationServiceServicer):
    """The generation service.

    Args:
        generation: makes faces.
        jobs: make versions of them.
        frame: counts faces, and says when a call is over.
    """

    def __init__(self, generation: Generation, jobs: GenerationJobs, frame: Frame) -> None:
        self._generation = generation
        self._jobs = jobs
        self._frame = frame

    def ListEngines(
        self, request: pb.ListEnginesRequest, context: grpc.ServicerContext
    ) -> pb.ListEnginesResponse:
        """List the algorithms."""
        del request, context
        return pb.ListEnginesResponse(engines=map(engine_message, self._generation.engines()))

    def ListGenerators(
        self, request: pb.ListGeneratorsRequest, context: grpc.ServicerContext
    ) -> pb.ListGeneratorsResponse:
        """List the trained instances, page by page."""
        del context
        page, token = page_of(
            sorted(self._generation.generators(), key=lambda generator: generator.name),
            lambda generator: generator.name,
            "generators",
            request.page_size,
            request.page_token,
        )
        return pb.ListGeneratorsResponse(
            generators=map(generator_message, page), next_page_token=token
        )

    def StreamFaces(
        self, request: pb.StreamFacesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Face]:
        """Make a balanced set; gRPC asks for the next face when there is room for it."""
        plan = plan_of(request.plan)
        faces = self._generation.stream_faces(plan)
        context.send_initial_metadata(ACCEPTED)
        return self._sent(plan.engine, faces, context)

    def MakeFaces(
        self, request_iterator: Iterator[pb.MakeFacesRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.Face]:
        """Make the faces that are asked for, in order."""
        first = next(request_iterator, None)
        if first is None or first.WhichOneof("part") != "engine":
            raise _header("names no engine")
        engine = first.engine
        faces = self._generation.make_faces(
            engine.name, params_of(engine.params_json), _wanted(request_iterator)
        )
        context.send_initial_metadata(ACCEPTED)
        return self._sent(engine.name, faces, context)

    def SynthesizeAffect(
        self, request: pb.SynthesizeAffectRequest, context: grpc.ServicerContext
    ) -> pb.Face:
        """Deform a photo."""
        del context
        affect = affect_of(request.affect) if request.HasField("affect") else None
        expression, intensity = look_of(
            request.expression, affect, request.intensity if request.HasField("intensity") else None
        )
        face = self._generation.synthesize_affect(
            _photo(request.photo), expression=expression, affect=affect, intensity=intensity
        )
        self._frame.metrics.faces_generated("affect")
        return face_message(face)

    def TranslateExpression(
        self, request: pb.TranslateExpressionRequest, context: grpc.ServicerContext
    ) -> pb.Face:
        """Translate a photo."""
        del context
        _, intensity = look_of(
            request.expression, None, request.intensity if request.HasField("intensity") else None
        )
        expression = expression_of(request.expression)
        assert expression is not None  # noqa: S101  ``look_of`` has refused its lack
        face = self._generation.translate_expression(
            _photo(request.photo),
            expression=expression,
            generator=request.generator,
            intensity=intensity,
        )
        self._frame.metrics.faces_generated("translate")
        return face_message(face)

    def CreateGenerationJob(
        self, request: pb.CreateGenerationJobRequest, context: grpc.ServicerContext
    ) -> pb.GenerationJob:
        """Start a job."""
        del context
        job = self._jobs.create(
            plan_of(request.job.plan),
            request.job.version_name,
            shard_identities=request.job.shard_identities,
            request_id=request.request_id,
        )
        return _told(job)

    def GetGenerationJob(
        self, request: pb.GetGenerationJobRequest, context: grpc.ServicerContext
    ) -> pb.GenerationJob:
        """Read a job."""
        del context
        return _told(self._jobs.get(request.name))

    def ListGenerationJobs(
        self, request: pb.ListGenerationJobsRequest, context: grpc.ServicerContext
    ) -> pb.ListGenerationJobsResponse:
        """List jobs, page by page."""
        del context
        page = self._jobs.jobs(page_size=request.page_size, page_token=request.page_token)
        return pb.ListGenerationJobsResponse(
            jobs=map(_told, page.jobs), next_page_token=page.next_page_token
        )

    def CancelGenerationJob(
        self, request: pb.CancelGenerationJobRequest, context: grpc.ServicerContext
    ) -> pb.GenerationJob:
        """Ask a job to stop."""
        del context
        return _told(self._jobs.cancel(request.name))

    def WatchGenerationJob(
        self, request: pb.WatchGenerationJobRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GenerationJob]:
        """Stream a job's changes."""
        ended = self._frame.ended(context)
        changes = self._jobs.watch(
            request.name, after_revision=request.after_revision, stop=ended.is_set
        )
        context.send_initial_metadata(ACCEPTED)
        return map(_told, changes)

    def _sent(
        self, engine: str, faces: Iterator[MadeFace], context: grpc.ServicerContext
    ) -> Iterator[pb.Face]:
        for face in faces:
            if not context.is_active():
                raise Interrupted("nobody listens any more")
            self._frame.metrics.faces_generated(engine)
            yield face_message(face)


def _wanted(messages: Iterable[pb.MakeFacesRequest]) -> Iterator[WantedFace]:
    for message in messages:
        if message.WhichOneof("part") != "request":
            raise _header("names an engine again, or nothing")
        yield wanted_of(message.request)


def _photo(message: pb.Photo) -> Photo:
    photo = photo_of(message)
    if not photo.image:
        raise Invalid("EMPTY_IMAGE", "the photo has no bytes", hint="send the file's bytes")
    return photo


def _told(job: Job) -> pb.GenerationJob:
    """Write a job, without the paths of this machine."""
    failure = job.failure
    if failure is not None:
        said = without_paths(Invalid(failure.reason, failure.message, hint=failure.hint))
        failure = replace(failure, message=said.message, hint=said.hint, details={})
    message = without_paths(Invalid("", job.message)).message
    return generation_job_message(replace(job, message=message, failure=failure))


def _header(what: str) -> Invalid:
    return Invalid(
        "STREAM_HEADER", f"the stream {what}", hint="send the engine first, and then only requests"
    )

"""The ``Generation`` port and the jobs of generation over the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc

from mien.api.generation.v1 import generation_pb2 as pb
from mien.api.generation.v1.generation_pb2_grpc import GenerationServiceStub
from mien.api.type.v1 import face_pb2
from mien.core.expression import Affect, Expression
from mien.core.generation import (
    EngineInfo,
    FacePlan,
    GeneratorInfo,
    MadeFace,
    Photo,
    WantedFace,
)
from mien.core.hooks import Cancelled, never_cancelled
from mien.core.jobs import Job, JobPage
from mien.wire.channel import translated
from mien.wire.faces import expression_number
from mien.wire.generation import (
    engine_of,
    face_of,
    generation_job_of,
    generator_of,
    params_text,
    photo_message,
    plan_message,
    wanted_message,
)
from mien.wire.streams import Outgoing, begun, pages
from mien.wire.watching import watched

_PAGE = 1000


class GenerationClient:
    """A generation service, used as generation in this process.

    Args:
        channel: to the service, from ``mien.wire.channel.open_channel``.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = GenerationServiceStub(channel)

    def engines(self) -> Sequence[EngineInfo]:
        """List the algorithms that can be asked for, by name."""
        with translated():
            found = self._stub.ListEngines(pb.ListEnginesRequest())
        return [engine_of(message) for message in found.engines]

    def generators(self) -> Sequence[GeneratorInfo]:
        """List the trained instances that lie where the service looks, by name."""
        request = pb.ListGeneratorsRequest(page_size=_PAGE)
        return [
            generator_of(message)
            for page in pages(self._stub.ListGenerators, request)
            for message in page.generators
        ]

    def stream_faces(self, plan: FacePlan) -> Iterator[MadeFace]:
        """Make a balanced set, identity by identity; wrong plans are errors of the call.

        Raises:
            NotFound: ``UNKNOWN_ENGINE``, ``UNKNOWN_GENERATOR``, ``ASSET_MISSING``.
            Invalid: ``ENGINE_PARAMS``, ``FACE_PLAN``, ``INTENSITY_UNSUPPORTED``.
        """
        request = pb.StreamFacesRequest(plan=plan_message(plan))
        return begun(self._stub.StreamFaces(request), face_of)

    def make_faces(
        self, engine: str, params: Mapping[str, Any], wanted: Iterable[WantedFace]
    ) -> Iterator[MadeFace]:
        """Make exactly these faces, in order; an engine may want a batch before it answers.

        Raises:
            NotFound, Invalid: as ``stream_faces`` at the call; ``FACE_REQUEST`` and what is wrong
                with a photo later. And what ``wanted`` itself raises.
        """
        first = pb.MakeFacesRequest(
            engine=pb.EngineChoice(name=engine, params_json=params_text(params))
        )

        def messages(given: Iterator[WantedFace]) -> Iterator[pb.MakeFacesRequest]:
            yield first
            for each in given:
                yield pb.MakeFacesRequest(request=wanted_message(each))

        outgoing = Outgoing(wanted, messages)
        faces = begun(self._stub.MakeFaces(iter(outgoing)), face_of)
        return _blamed(faces, outgoing)

    def synthesize_affect(
        self,
        photo: Photo,
        *,
        expression: Expression | None = None,
        affect: Affect | None = None,
        intensity: float = 1.0,
    ) -> MadeFace:
        """Deform a photo of a neutral face.

        Raises:
            Invalid: ``FACE_REQUEST``, ``NO_FACE``, and what is wrong with the picture.
        """
        request = pb.SynthesizeAffectRequest(
            photo=photo_message(photo),
            expression=expression_number(expression),
            affect=None
            if affect is None
            else face_pb2.Affect(valence=affect.valence, arousal=affect.arousal),
            intensity=intensity,
        )
        with translated():
            return face_of(self._stub.SynthesizeAffect(request))

    def translate_expression(
        self, photo: Photo, *, expression: Expression, generator: str, intensity: float = 1.0
    ) -> MadeFace:
        """Translate the expression of a photo with a trained generator.

        Raises:
            Invalid: ``FACE_REQUEST``, ``NO_FACE``, and what is wrong with the picture.
            NotFound: ``UNKNOWN_GENERATOR``.
        """
        request = pb.TranslateExpressionRequest(
            photo=photo_message(photo),
            expression=expression_number(expression),
            generator=generator,
            intensity=intensity,
        )
        with translated():
            return face_of(self._stub.TranslateExpression(request))


class GenerationJobsClient:
    """The jobs of a generation service.

    Args:
        channel: to the service, from ``mien.wire.channel.open_channel``.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = GenerationServiceStub(channel)

    def create(
        self, plan: FacePlan, version_name: str, *, shard_identities: int = 0, request_id: str = ""
    ) -> Job:
        """Start a job; the same request id never asks twice. 0 identities a shard = 512.

        Raises:
            Invalid: ``VERSION_NAME``, and as ``GenerationClient.stream_faces``.
            AlreadyExists: ``REQUEST_ID_REUSED``.
        """
        job = pb.GenerationJob(
            plan=plan_message(plan),
            version_name=version_name,
            shard_identities=shard_identities,
        )
        request = pb.CreateGenerationJobRequest(job=job, request_id=request_id)
        with translated(late_is_unavailable=True):
            return generation_job_of(self._stub.CreateGenerationJob(request))

    def get(self, name: str) -> Job:
        """Read a job; ``NotFound UNKNOWN_JOB``."""
        with translated(late_is_unavailable=True):
            return generation_job_of(
                self._stub.GetGenerationJob(pb.GetGenerationJobRequest(name=name))
            )

    def jobs(self, *, page_size: int = 0, page_token: str = "") -> JobPage:
        """List jobs, newest first; ``Invalid`` ``PAGE_TOKEN``, ``PAGE_SIZE``."""
        request = pb.ListGenerationJobsRequest(page_size=page_size, page_token=page_token)
        with translated(late_is_unavailable=True):
            page = self._stub.ListGenerationJobs(request)
        return JobPage(tuple(generation_job_of(j) for j in page.jobs), page.next_page_token)

    def cancel(self, name: str) -> Job:
        """Ask a job to stop, its finished shards are kept; ``NotFound UNKNOWN_JOB``."""
        with translated(late_is_unavailable=True):
            return generation_job_of(
                self._stub.CancelGenerationJob(pb.CancelGenerationJobRequest(name=name))
            )

    def watch(
        self, name: str, *, after_revision: int = 0, stop: Cancelled = never_cancelled
    ) -> Iterator[Job]:
        """Yield a job whenever it has changed, until it ends or ``stop`` says so.

        A service that goes away is waited for, a minute at most.
        """
        return watched(
            lambda revision: self._stub.WatchGenerationJob(
                pb.WatchGenerationJobRequest(name=name, after_revision=revision)
            ),
            generation_job_of,
            lambda: self.get(name),
            after_revision,
            stop,
        )


def _blamed(
    faces: Iterator[MadeFace], outgoing: Outgoing[WantedFace, pb.MakeFacesRequest]
) -> Iterator[MadeFace]:
    with outgoing.blame():
        yield from faces

"""What generation is asked and answers, as messages: plans, photos, faces, jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mien.api.generation.v1 import generation_pb2 as pb
from mien.core.errors import Corrupt, Invalid, invalid_fields
from mien.core.expression import Affect, Expression
from mien.core.generation import (
    EngineInfo,
    FacePlan,
    FaceRequest,
    GeneratorInfo,
    MadeFace,
    Photo,
    WantedFace,
)
from mien.core.jobs import Job
from mien.core.manifest import VersionInfo
from mien.core.sample import Item
from mien.wire.faces import (
    affect_of,
    expression_number,
    expression_of,
    point_messages,
    sample_message,
    sample_of,
)
from mien.wire.jobs import job_of, job_status
from mien.wire.versions import json_object, plain_json, version_message, version_of

_LONGEST_ID = 1000
_LONGEST_PARAMS = 64 << 10  # every key at fault is named, and generators are looked for in all


def engine_message(info: EngineInfo) -> pb.Engine:
    """Write an engine."""
    return pb.Engine(name=info.name, summary=info.summary, trained=info.trained, photos=info.photos)


def engine_of(message: pb.Engine) -> EngineInfo:
    """Read an engine."""
    return EngineInfo(message.name, message.summary, message.trained, message.photos)


def generator_message(info: GeneratorInfo) -> pb.Generator:
    """Write a generator."""
    return pb.Generator(
        name=info.name,
        engine=info.engine,
        digest=info.digest,
        expressions=[expression_number(e) for e in info.expressions],
        size_px=info.size_px,
        figures=info.figures,
        subjects_seen=info.subjects_seen,
    )


def generator_of(message: pb.Generator) -> GeneratorInfo:
    """Read a generator."""
    return GeneratorInfo(
        name=message.name,
        engine=message.engine,
        digest=message.digest,
        expressions=_labels(message.expressions),
        size_px=message.size_px,
        figures=dict(sorted(message.figures.items())),
        subjects_seen=message.subjects_seen,
    )


def params_of(text: str) -> dict[str, Any]:
    """Read an engine's parameters; ``Invalid ENGINE_PARAMS`` when they are no small JSON object."""
    if len(text) > _LONGEST_PARAMS:
        raise invalid_fields(
            "ENGINE_PARAMS",
            "the parameters of the engine are wrong",
            {"params_json": f"has {len(text)} letters, more than {_LONGEST_PARAMS}"},
        )
    return json_object(text, what="params_json of the engine", reason="ENGINE_PARAMS")


def params_text(params: Mapping[str, Any]) -> str:
    """Write an engine's parameters; "" for none, ``Invalid ENGINE_PARAMS`` for what is no JSON."""
    try:
        return plain_json(params, what="what was given") if params else ""
    except Invalid as error:
        raise invalid_fields(
            "ENGINE_PARAMS",
            "the parameters of the engine are wrong",
            {"params_json": error.message},
        ) from None


def plan_message(plan: FacePlan) -> pb.FacePlan:
    """Write a plan.

    Raises:
        Invalid: ``FACE_PLAN`` for intensities that are all 0: on the wire those mean "full".
    """
    if plan.intensity is not None and plan.intensity[1] == 0.0:
        raise invalid_fields(
            "FACE_PLAN",
            "the faces cannot be planned",
            {"intensity": "is 0 for all faces: ask for neutral ones instead"},
        )
    low, high = plan.intensity or (0.0, 0.0)
    return pb.FacePlan(
        engine=plan.engine,
        params_json=params_text(plan.params),
        expressions=[expression_number(e) for e in plan.expressions],
        identities=plan.identities,
        images_per_cell=plan.images_per_cell,
        seed=plan.seed,
        min_intensity=low,
        max_intensity=high,
        pool=plan.pool,
    )


def plan_of(message: pb.FacePlan) -> FacePlan:
    """Read a plan.

    Raises:
        Invalid: ``FACE_PLAN`` naming each field at fault; ``ENGINE_PARAMS``;
            ``UNKNOWN_EXPRESSION``.
    """
    low, high = message.min_intensity, message.max_intensity
    return FacePlan(
        engine=message.engine,
        expressions=_labels(message.expressions),
        identities=message.identities,
        params=params_of(message.params_json),
        images_per_cell=message.images_per_cell or 1,
        seed=message.seed,
        intensity=None if low == high == 0.0 else (low, high),
        pool=message.pool,
    )


def photo_message(photo: Photo) -> pb.Photo:
    """Write a photo."""
    return pb.Photo(
        id=photo.id,
        subject=photo.subject,
        image=photo.image,
        landmarks=point_messages(photo.landmarks),
    )


def photo_of(message: pb.Photo) -> Photo:
    """Read a photo; its bytes are not looked at.

    Raises:
        Invalid: ``FACE_REQUEST`` for an id or subject that is too long, or points that are not
            finite.
    """
    points = tuple((p.x, p.y) for p in message.landmarks)
    wrong: dict[str, str] = {}
    if len(message.id) > _LONGEST_ID:
        wrong["photo.id"] = f"is longer than {_LONGEST_ID}"
    if len(message.subject) > _LONGEST_ID:
        wrong["photo.subject"] = f"is longer than {_LONGEST_ID}"
    if not all(math.isfinite(c) for point in points for c in point):
        wrong["photo.landmarks"] = "are not finite"
    if wrong:
        raise invalid_fields("FACE_REQUEST", "the photo cannot be used", wrong)
    subject = message.subject if message.HasField("subject") else None
    return Photo(message.image, message.id, subject, points)


def wanted_message(wanted: WantedFace) -> pb.FaceRequest:
    """Write a face to make."""
    request, photo = wanted.request, wanted.photo
    message = pb.FaceRequest(
        id=request.id,
        seed=request.seed,
        identity=request.identity,
        expression=expression_number(request.expression),
        intensity=request.intensity,
        variation=request.variation,
    )
    if request.affect is not None:
        message.affect.valence = request.affect.valence
        message.affect.arousal = request.affect.arousal
    if photo is not None:
        message.source.CopyFrom(photo_message(photo))
    return message


def wanted_of(message: pb.FaceRequest) -> WantedFace:
    """Read a face to make.

    Raises:
        Invalid: ``FACE_REQUEST`` naming each field at fault; ``UNKNOWN_EXPRESSION``;
            ``AFFECT_OUT_OF_RANGE``.
    """
    affect = affect_of(message.affect) if message.HasField("affect") else None
    expression, intensity = look_of(
        message.expression, affect, message.intensity if message.HasField("intensity") else None
    )
    if not 0 < len(message.id) <= _LONGEST_ID or len(message.identity) > _LONGEST_ID:
        raise invalid_fields(
            "FACE_REQUEST",
            "the face cannot be asked for",
            {"id": f"and identity have at most {_LONGEST_ID} letters, and there is an id"},
        )
    request = FaceRequest(
        id=message.id,
        seed=message.seed,
        identity=message.identity,
        expression=expression,
        affect=affect,
        intensity=intensity,
        variation=message.variation,
    )
    photo = photo_of(message.source) if message.HasField("source") else None
    return WantedFace(request, photo)


def look_of(
    number: int, affect: Affect | None, intensity: float | None
) -> tuple[Expression | None, float]:
    """Read what a face shall show: an expression, or else a point of the affect plane.

    Raises:
        Invalid: ``FACE_REQUEST`` for both, neither, or an intensity outside [0, 1];
            ``UNKNOWN_EXPRESSION``.
    """
    expression = expression_of(number)
    strength = 1.0 if intensity is None else intensity
    wrong: dict[str, str] = {}
    if (expression is None) == (affect is None):
        wrong["expression"] = "give either an expression or a point of the affect plane"
    if not 0.0 <= strength <= 1.0:
        wrong["intensity"] = f"{strength} is outside [0, 1]"
    if wrong:
        raise invalid_fields("FACE_REQUEST", "the face cannot be asked for", wrong)
    return expression, strength


def face_message(face: MadeFace) -> pb.Face:
    """Write a face that was made."""
    return pb.Face(
        sample=sample_message(face.item.sample),
        image=face.item.image,
        scores=face.scores,
        engine_digest=face.engine_digest,
    )


def face_of(message: pb.Face) -> MadeFace:
    """Read a face that was made; ``Invalid`` as ``sample_of``."""
    return MadeFace(
        Item(sample_of(message.sample), message.image),
        message.engine_digest,
        dict(sorted(message.scores.items())),
    )


def generation_job_message(job: Job) -> pb.GenerationJob:
    """Write a generation job.

    Raises:
        Corrupt: ``JOB_SPEC`` when the job is another kind of work.
    """
    try:
        made = job.result.get("version")
        return pb.GenerationJob(
            name=job.name,
            plan=plan_message(FacePlan.from_json(job.spec["plan"])),
            version_name=job.spec["version_name"],
            shard_identities=job.spec["shard_identities"],
            status=job_status(job),
            version=None if made is None else version_message(VersionInfo.from_json(made)),
            shards={int(n): digest for n, digest in job.result.get("shards", {}).items()},
        )
    except (KeyError, TypeError, ValueError, Invalid) as error:
        raise Corrupt(
            "JOB_SPEC", f"{job.name} is no generation job: {error}", hint="ask for it anew"
        ) from None


def generation_job_of(message: pb.GenerationJob) -> Job:
    """Read a generation job.

    Raises:
        Invalid: as ``plan_of``; ``JOB_STATE``.
    """
    result: dict[str, Any] = {}
    if message.HasField("version"):
        result["version"] = version_of(message.version).to_json()
    if message.shards:
        result["shards"] = {str(n): message.shards[n] for n in sorted(message.shards)}
    return job_of(
        message.status,
        name=message.name,
        kind="generation",
        spec={
            "plan": plan_of(message.plan).to_json(),
            "version_name": message.version_name,
            "shard_identities": message.shard_identities,
        },
        result=result,
    )


def _labels(numbers: Any) -> tuple[Expression, ...]:
    """Read labels; ``Invalid FACE_PLAN`` for one that is unspecified."""
    found = [expression_of(number) for number in numbers]
    labels = tuple(e for e in found if e is not None)
    if len(labels) != len(found):
        raise invalid_fields(
            "FACE_PLAN",
            "the faces cannot be planned",
            {"expressions": "one is unspecified"},
        )
    return labels

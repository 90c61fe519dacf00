"""What the champion is asked and says, and models, as messages."""

from __future__ import annotations

from mien.api.serving.v1 import serving_pb2 as pb
from mien.api.type.v1 import face_pb2
from mien.core.errors import Corrupt, Invalid
from mien.core.expression import Affect, Expression
from mien.core.face import Box
from mien.core.serving import (
    GateCheck,
    ModelInfo,
    ModelLineage,
    Promotion,
    Query,
    RecognisedFace,
    Recognition,
    Refusal,
)
from mien.wire.faces import affect_of, expression_number, expression_of
from mien.wire.versions import moment_of, timestamp


def query_message(query: Query) -> pb.RecogniseExpressionRequest:
    """Write a question about a picture."""
    return pb.RecogniseExpressionRequest(
        image=query.image, id=query.id, threshold=query.threshold, max_faces=query.max_faces
    )


def query_of(message: pb.RecogniseExpressionRequest) -> Query:
    """Read a question about a picture; ``Invalid THRESHOLD`` when it asks the impossible."""
    return Query(
        image=message.image,
        id=message.id,
        threshold=message.threshold if message.HasField("threshold") else None,
        max_faces=message.max_faces,
    )


def recognition_message(found: Recognition) -> pb.RecogniseExpressionResponse:
    """Write the faces of a picture."""
    return pb.RecogniseExpressionResponse(
        id=found.id,
        faces=[_face_message(face) for face in found.faces],
        lineage=lineage_message(found.lineage),
    )


def recognition_of(message: pb.RecogniseExpressionResponse) -> Recognition:
    """Read the faces of a picture."""
    return Recognition(
        message.id, tuple(_face_of(f) for f in message.faces), lineage_of(message.lineage)
    )


def outcome_message(found: Recognition | Refusal) -> pb.RecogniseStreamResponse:
    """Write the answer to one picture of a stream."""
    if isinstance(found, Recognition):
        return pb.RecogniseStreamResponse(answer=recognition_message(found))
    return pb.RecogniseStreamResponse(
        refusal=pb.Refusal(id=found.id, reason=found.reason, message=found.message, hint=found.hint)
    )


def outcome_of(message: pb.RecogniseStreamResponse) -> Recognition | Refusal:
    """Read the answer to one picture of a stream."""
    if message.HasField("answer"):
        return recognition_of(message.answer)
    told = message.refusal
    return Refusal(told.id, told.reason, told.message, told.hint)


def lineage_message(lineage: ModelLineage) -> pb.Lineage:
    """Write where a prediction comes from."""
    return pb.Lineage(
        model=lineage.model,
        model_version=lineage.model_version,
        model_digest=lineage.model_digest,
        dataset_digest=lineage.dataset_digest,
        run_id=lineage.run_id,
        preprocess_digest=lineage.preprocess_digest,
    )


def lineage_of(message: pb.Lineage) -> ModelLineage:
    """Read where a prediction comes from."""
    return ModelLineage(
        message.model,
        message.model_version,
        message.model_digest,
        message.dataset_digest,
        message.run_id,
        message.preprocess_digest,
    )


def model_message(info: ModelInfo) -> pb.Model:
    """Write a registered model."""
    return pb.Model(
        name=info.name,
        aliases=info.aliases,
        lineage=lineage_message(info.lineage),
        expressions=[expression_number(e) for e in info.expressions],
        size_px=info.size_px,
        figures=info.figures,
        create_time=timestamp(info.created),
        loaded=info.loaded,
    )


def model_of(message: pb.Model) -> ModelInfo:
    """Read a registered model."""
    return ModelInfo(
        lineage=lineage_of(message.lineage),
        expressions=tuple(_label(number) for number in message.expressions),
        size_px=message.size_px,
        aliases=tuple(message.aliases),
        figures=dict(sorted(message.figures.items())),
        created=moment_of(message.create_time) if message.HasField("create_time") else None,
        loaded=message.loaded,
    )


def promotion_message(made: Promotion) -> pb.Promotion:
    """Write what a promotion did."""
    return pb.Promotion(
        champion=None if made.champion is None else model_message(made.champion),
        previous=None if made.previous is None else model_message(made.previous),
        checks=[
            pb.GateCheck(check=c.check, passed=c.passed, finding=c.finding) for c in made.checks
        ],
        repository_digest=made.repository_digest,
        took_s=made.took_s,
        promoted=made.promoted,
    )


def promotion_of(message: pb.Promotion) -> Promotion:
    """Read what a promotion did."""
    return Promotion(
        champion=model_of(message.champion) if message.HasField("champion") else None,
        previous=model_of(message.previous) if message.HasField("previous") else None,
        checks=tuple(GateCheck(c.check, c.passed, c.finding) for c in message.checks),
        repository_digest=message.repository_digest,
        took_s=message.took_s,
        promoted=message.promoted,
    )


def _face_message(face: RecognisedFace) -> pb.RecognisedFace:
    box, affect = face.box, face.affect
    return pb.RecognisedFace(
        box=pb.Box(x=box.left, y=box.top, width=box.width, height=box.height),
        detection_score=face.detection_score,
        expression=expression_number(face.expression),
        probabilities=[
            pb.LabelProbability(expression=expression_number(e), probability=p)
            for e, p in face.probabilities.items()
        ],
        abstained=face.abstained,
        affect=None
        if affect is None
        else face_pb2.Affect(valence=affect.valence, arousal=affect.arousal),
    )


def _face_of(message: pb.RecognisedFace) -> RecognisedFace:
    box = message.box
    affect: Affect | None = affect_of(message.affect) if message.HasField("affect") else None
    return RecognisedFace(
        box=Box(box.x, box.y, box.width, box.height),
        detection_score=message.detection_score,
        expression=expression_of(message.expression),
        probabilities={_label(p.expression): p.probability for p in message.probabilities},
        abstained=message.abstained,
        affect=affect,
    )


def _label(number: int) -> Expression:
    """Read a label that must be one: it comes from a server of ours."""
    try:
        label = expression_of(number)
    except Invalid:
        label = None
    if label is None:
        raise Corrupt(
            "UNKNOWN_EXPRESSION",
            f"the service answers with expression number {number}",
            hint="use a client as new as the service",
        )
    return label

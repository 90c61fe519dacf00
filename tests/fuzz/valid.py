"""Requests that are answered, to be damaged: one or two for every RPC that can succeed here."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from google.protobuf.message import Message
from PIL import Image

from mien.api.generation.v1 import generation_pb2 as generation
from mien.api.registry.v1 import registry_pb2 as registry
from mien.api.training.v1 import training_pb2 as training
from mien.api.type.v1 import face_pb2, version_pb2

NAME = "faces"
PLAN = generation.FacePlan(
    engine="affect",
    params_json="{}",
    expressions=[face_pb2.EXPRESSION_FEAR, face_pb2.EXPRESSION_NEUTRAL],
    identities=1,
    seed=3,
)


def face(number: int) -> bytes:
    """Encode a small picture."""
    pixels = np.random.default_rng(number).integers(0, 255, (24, 24), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def item(number: int) -> face_pb2.Item:
    """Make an item of a version."""
    image = face(number)
    sample = face_pb2.Sample(
        id=f"demo/{number}",
        source="demo",
        origin=face_pb2.ORIGIN_REAL,
        subject=f"demo:{number % 2}",
        expression=face_pb2.EXPRESSION_FEAR,
        file=f"{number}.png",
        digest=blake3(image).hexdigest(),
        width=24,
        height=24,
    )
    return face_pb2.Item(sample=sample, image=image)


def creation() -> list[registry.CreateVersionRequest]:
    """Make the messages that create a version of three faces."""
    header = registry.CreateVersionHeader(
        name=NAME,
        provenance=version_pb2.Provenance(maker="fuzz", params_json="{}"),
        licences={"demo": version_pb2.Licence(name="CC0-1.0", commercial=True)},
    )
    batches = [registry.ItemBatch(items=[item(1), item(2)]), registry.ItemBatch(items=[item(3)])]
    return [
        registry.CreateVersionRequest(header=header),
        *(registry.CreateVersionRequest(batch=batch) for batch in batches),
        registry.CreateVersionRequest(end=registry.CreateVersionEnd(items=3)),
    ]


REQUESTS: dict[str, Sequence[Message]] = {
    "RegistryService/CreateVersion": creation(),
    "RegistryService/GetVersion": [registry.GetVersionRequest(reference=NAME)],
    "RegistryService/ListVersions": [registry.ListVersionsRequest(name=NAME, page_size=2)],
    "RegistryService/DiffVersions": [registry.DiffVersionsRequest(before=NAME, after=NAME)],
    "RegistryService/StreamItems": [
        registry.StreamItemsRequest(
            reference=NAME,
            filter=registry.ItemFilter(sources=["demo"], subjects=["demo:1"]),
        )
    ],
    "RegistryService/SetAlias": [registry.SetAliasRequest(name=NAME, alias="good", reference=NAME)],
    "RegistryService/ListAliases": [registry.ListAliasesRequest(name=NAME)],
    "RegistryService/GetLineage": [registry.GetLineageRequest(reference=NAME, down=True)],
    "RegistryService/VerifyVersion": [registry.VerifyVersionRequest(reference=NAME)],
    "GenerationService/ListEngines": [generation.ListEnginesRequest()],
    "GenerationService/ListGenerators": [generation.ListGeneratorsRequest(page_size=3)],
    "GenerationService/StreamFaces": [generation.StreamFacesRequest(plan=PLAN)],
    "GenerationService/MakeFaces": [
        generation.MakeFacesRequest(engine=generation.EngineChoice(name="affect")),
        generation.MakeFacesRequest(
            request=generation.FaceRequest(
                id="affect/1", seed=1, identity="a", expression=face_pb2.EXPRESSION_FEAR
            )
        ),
    ],
    "GenerationService/CreateGenerationJob": [
        generation.CreateGenerationJobRequest(
            job=generation.GenerationJob(plan=PLAN, version_name="made", shard_identities=1)
        )
    ],
    "GenerationService/ListGenerationJobs": [generation.ListGenerationJobsRequest(page_size=2)],
    "TrainingService/ListTrainingJobs": [training.ListTrainingJobsRequest(page_size=2)],
}


def valid(rpc: str) -> list[bytes]:
    """Return the messages of a request that is answered, [] when there is none for this RPC."""
    return [m.SerializeToString() for m in REQUESTS.get(rpc.rpartition(".")[2], ())]

"""Who may call what, and in which lane it runs.

Every RPC of every service stands here; one that does not is answered to nobody. Whether a call
may be repeated is said by the protos themselves (``idempotency_level``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "writer", "promoter"]
LaneName = Literal["calls", "streams", "watches"]

RANK: dict[str, int] = {"viewer": 0, "writer": 1, "promoter": 2}


@dataclass(frozen=True, slots=True)
class Policy:
    """What is known of an RPC before it runs.

    Attributes:
        role: the least a caller must be.
        lane: ``calls`` are short; ``streams`` work as long as they last; ``watches`` mostly
            wait. Each lane is counted by itself, so that none starves another.
    """

    role: Role
    lane: LaneName = "calls"


_READ = Policy("viewer")
_READ_STREAM = Policy("viewer", "streams")
_WATCH = Policy("viewer", "watches")
_WRITE = Policy("writer")
_WRITE_STREAM = Policy("writer", "streams")
_PROMOTE = Policy("promoter")

_BY_SERVICE: dict[str, dict[str, Policy]] = {
    "mien.api.registry.v1.RegistryService": {
        "CreateVersion": _WRITE_STREAM,
        "ImportVersion": _WRITE,
        "GetVersion": _READ,
        "ListVersions": _READ,
        "DiffVersions": _READ,
        "StreamItems": _READ_STREAM,
        "SetAlias": _WRITE,
        "DeleteAlias": _WRITE,
        "ListAliases": _READ,
        "GetLineage": _READ,
        "VerifyVersion": _READ,
    },
    "mien.api.generation.v1.GenerationService": {
        "ListEngines": _READ,
        "ListGenerators": _READ,
        "StreamFaces": _READ_STREAM,
        "MakeFaces": _READ_STREAM,
        "SynthesizeAffect": _READ,
        "TranslateExpression": _READ,
        "CreateGenerationJob": _WRITE,
        "GetGenerationJob": _READ,
        "ListGenerationJobs": _READ,
        "CancelGenerationJob": _WRITE,
        "WatchGenerationJob": _WATCH,
    },
    "mien.api.training.v1.TrainingService": {
        "CreateTrainingJob": _WRITE,
        "GetTrainingJob": _READ,
        "ListTrainingJobs": _READ,
        "CancelTrainingJob": _WRITE,
        "WatchTrainingJob": _WATCH,
        "GetTrainingLog": _READ,
    },
    "mien.api.serving.v1.ServingService": {
        "RecogniseExpression": _READ,
        "RecogniseStream": _READ_STREAM,
        "PromoteModel": _PROMOTE,
        "RollbackModel": _PROMOTE,
        "GetModel": _READ,
        "ListModels": _READ,
    },
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _WATCH},
}

POLICIES: dict[str, Policy] = {
    f"/{service}/{method}": policy
    for service, methods in _BY_SERVICE.items()
    for method, policy in methods.items()
}

# Probes come without a token, and nothing may keep them from being answered.
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_PREFIX = "/grpc.health.v1.Health/"

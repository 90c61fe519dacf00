"""Who may call what, whether a repeated call is harmless, and in which lane it runs.

Every RPC of every service stands here; a server refuses to mount one that does not.
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
        idempotent: whether a client may repeat it on its own.
        lane: ``calls`` are short; ``streams`` work as long as they last; ``watches`` mostly
            wait. Each lane is counted by itself, so that none starves another.
    """

    role: Role
    idempotent: bool
    lane: LaneName = "calls"


_READ = Policy("viewer", idempotent=True)
_READ_STREAM = Policy("viewer", idempotent=True, lane="streams")
_WATCH = Policy("viewer", idempotent=True, lane="watches")
_WRITE = Policy("writer", idempotent=False)
_WRITE_STREAM = Policy("writer", idempotent=False, lane="streams")
# The same work again is the same job, and an ended job is not cancelled twice.
_REPEATABLE_WRITE = Policy("writer", idempotent=True)
_PROMOTE = Policy("promoter", idempotent=False)

_BY_SERVICE: dict[str, dict[str, Policy]] = {
    "mien.api.registry.v1.RegistryService": {
        "CreateVersion": _WRITE_STREAM,
        "ImportVersion": _REPEATABLE_WRITE,
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
        "MakeFaces": Policy("viewer", idempotent=False, lane="streams"),
        "SynthesizeAffect": _READ,
        "TranslateExpression": _READ,
        "CreateGenerationJob": _REPEATABLE_WRITE,
        "GetGenerationJob": _READ,
        "ListGenerationJobs": _READ,
        "CancelGenerationJob": _REPEATABLE_WRITE,
        "WatchGenerationJob": _WATCH,
    },
    "mien.api.training.v1.TrainingService": {
        "CreateTrainingJob": _REPEATABLE_WRITE,
        "GetTrainingJob": _READ,
        "ListTrainingJobs": _READ,
        "CancelTrainingJob": _REPEATABLE_WRITE,
        "WatchTrainingJob": _WATCH,
        "GetTrainingLog": _READ,
    },
    "mien.api.serving.v1.ServingService": {
        "RecogniseExpression": _READ,
        "RecogniseStream": Policy("viewer", idempotent=False, lane="streams"),
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

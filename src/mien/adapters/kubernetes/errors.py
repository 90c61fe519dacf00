"""What an answer of an API server means, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mien.core.errors import (
    AlreadyExists,
    Exhausted,
    Forbidden,
    Invalid,
    MienError,
    NotFound,
    Unauthenticated,
    Unavailable,
)

_SAID_CHARS = 500


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[MienError]
    reason: str
    sentence: str
    hint: str
    said: str = ""  # only when the answer says this


_MEANINGS: dict[int, tuple[_Meaning, ...]] = {
    401: (_Meaning(Unauthenticated, "CLUSTER_LOGIN", "the cluster does not know us", "log in"),),
    403: (
        _Meaning(
            Exhausted,
            "QUOTA_EXCEEDED",
            "the namespace has no quota left",
            "wait for Jobs to end, delete some, or ask for more quota",
            "exceeded quota",
        ),
        _Meaning(
            Forbidden,
            "CLUSTER_FORBIDDEN",
            "the cluster refuses",
            "k8s/base/access.yaml has the role that is needed",
        ),
    ),
    404: (
        _Meaning(
            NotFound,
            "NAMESPACE_MISSING",
            "there is no such namespace",
            "create it, or name another in the cluster profile",
            "namespaces",
        ),
        _Meaning(NotFound, "NOT_ON_CLUSTER", "it is not there", "somebody may have deleted it"),
    ),
    409: (_Meaning(AlreadyExists, "JOB_EXISTS", "it was submitted before", "join it"),),
}
_WRONG = _Meaning(
    Invalid, "JOB_REFUSED", "the cluster finds it wrong", "correct the cluster profile"
)
_AWAY = _Meaning(
    Unavailable,
    "CLUSTER_UNREACHABLE",
    "the API server does not answer",
    "what was submitted goes on there; run the same command again to join it",
)


def error_of(code: int, body: str) -> MienError:
    """Translate an HTTP answer; code 0 = there was none.

    Args:
        code: HTTP status.
        body: a ``Status`` object as JSON, or anything.
    """
    said = _message(body)
    known = _MEANINGS.get(code, (_WRONG,) if code in (400, 422) else (_AWAY,))
    meaning = next(m for m in known if m.said in said)
    where = f" ({code or 'no connection'})" if meaning is _AWAY else ""
    return meaning.kind(meaning.reason, f"{meaning.sentence}{where}: {said}", hint=meaning.hint)


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["message"])[:_SAID_CHARS]
    except (ValueError, KeyError, TypeError):
        return body.strip()[:_SAID_CHARS]

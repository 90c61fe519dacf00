"""Where plans and projects may lie: paths and URIs from the wire are hostile until located here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mien.core.errors import Forbidden, Invalid, NotFound

_MOST_PLAN_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class WorkRoots:
    """Folders and URI prefixes; what is not below one of them is refused.

    Attributes:
        folders: resolved.
        urls: ``s3://bucket/prefix/``, each with a slash at its end.
    """

    folders: tuple[Path, ...]
    urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, roots: Iterable[str | Path]) -> WorkRoots:
        """Tell folders from URIs."""
        given = [str(root) for root in roots]
        urls = tuple(r.rstrip("/") + "/" for r in given if _is_remote(r))
        return cls(tuple(_local(r).resolve() for r in given if not _is_remote(r)), urls)

    def locate(self, uri: str) -> str:
        """Return the absolute path, symlinks resolved, or the URI, of something allowed.

        Args:
            uri: a ``file://`` URI, a path (a relative one starts from a root), or a remote URI.

        Raises:
            Forbidden: ``PLAN_FORBIDDEN``. Invalid: ``JOB_SPEC`` when it is no path at all.
        """
        if _is_remote(uri):
            plain = ".." not in uri.split("/") and uri.isprintable() and "::" not in uri
            if plain and any(uri.startswith(url) for url in self.urls):
                return uri
            raise _forbidden(uri)
        try:
            path = _local(uri)
            tries = [(root / path).resolve() for root in self.folders]
            found = [p for p in tries if p.exists()]
        except (ValueError, OSError, RuntimeError):  # a null byte, too long, a loop of links
            raise Invalid("JOB_SPEC", f"{uri[:200]!r} is no path", hint="correct it") from None
        allowed = [p for p in tries if any(p.is_relative_to(root) for root in self.folders)]
        if not allowed:
            raise _forbidden(uri)
        return str(next((p for p in allowed if p in found), allowed[0]))


def read_plan(where: str) -> bytes:
    """Read a plan that was located.

    Raises:
        NotFound: ``PLAN_MISSING``. Invalid: ``JOB_SPEC`` when it is far too long for one.
    """
    try:
        data = _read(where)
    except OSError:
        raise NotFound(
            "PLAN_MISSING", f"there is no plan {where}", hint="mien sweep writes plans"
        ) from None
    if len(data) > _MOST_PLAN_BYTES:
        raise Invalid("JOB_SPEC", f"{where} is too long for a plan", hint="name its plan.json")
    return data


def _read(where: str) -> bytes:
    if not _is_remote(where):
        with Path(where).open("rb") as file:
            return file.read(_MOST_PLAN_BYTES + 1)
    import fsspec

    with fsspec.open(where, "rb") as file:
        data: bytes = file.read(_MOST_PLAN_BYTES + 1)
    return data


def _is_remote(uri: str) -> bool:
    return "://" in uri and not uri.startswith("file://")


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)


def _forbidden(uri: str) -> Forbidden:
    return Forbidden(
        "PLAN_FORBIDDEN",
        f"{uri[:200]!r} is not below a work root of this server",
        hint="move it below one, or add its folder to MIEN_SERVER_WORK_ROOTS",
    )

"""Pages of a list that only grows at its front: a token names the last item of the page before."""

from __future__ import annotations

from collections.abc import Sequence

from mien.core.errors import Invalid
from mien.core.serving import ModelInfo

USUAL, MOST = 100, 1000


def page_of(models: Sequence[ModelInfo], size: int, token: str) -> tuple[Sequence[ModelInfo], str]:
    """Cut a page out of models, newest first; returns it with the next page's token, or "".

    Raises:
        Invalid: ``PAGE_SIZE``, ``PAGE_TOKEN``.
    """
    if not 0 <= size <= MOST:
        raise Invalid(
            "PAGE_SIZE", f"page_size {size} is outside 0..{MOST}", hint=f"0 means {USUAL}"
        )
    names = [m.name for m in models]
    if token and token not in names:
        raise Invalid("PAGE_TOKEN", f"{token!r} is no page token", hint="take it from the answer")
    start = names.index(token) + 1 if token else 0
    end = start + (size or USUAL)
    return models[start:end], names[end - 1] if end < len(models) else ""

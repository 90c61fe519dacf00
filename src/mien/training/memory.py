"""Run out of memory and go on: the same batch in smaller parts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mien.core.errors import Exhausted

log = logging.getLogger(__name__)


def accumulate(
    loss_of: Callable[[slice], Tensor], count: int, micro: int, least: int, network: nn.Module
) -> int:
    """Add a batch's gradients to those of a network, in as many parts as memory asks for.

    Args:
        loss_of: mean loss of a part of the batch; asked again for the same part when memory ran
            out, so its randomness must not depend on how often it was asked.
        count: faces of the batch.
        micro: faces at a time to begin with.
        least: parts are multiples of it: groups over which a network takes statistics.
        network: whose gradients are added up.

    Returns:
        The faces at a time that fit.

    Raises:
        Exhausted: ``OUT_OF_MEMORY`` when not even ``least`` do.
    """
    before = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    while True:
        try:
            for start in range(0, count, micro):
                part = slice(start, min(start + micro, count))
                loss = loss_of(part) * ((part.stop - part.start) / count)
                loss.backward()  # type: ignore[no-untyped-call]
            return micro
        except RuntimeError as error:
            if not _is_memory(error):
                raise
            if micro <= least:
                raise Exhausted(
                    "OUT_OF_MEMORY",
                    f"{micro} faces at a time do not fit into memory",
                    hint="lower the batch, its least part (ghost), the width or the size",
                ) from None
        for parameter, gradient in zip(network.parameters(), before, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        micro = max(least, micro // 2 // least * least)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory: going on with %d faces at a time", micro)


def _is_memory(error: RuntimeError) -> bool:
    """Tell lack of memory from other failures; the processor's allocator has no type of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)

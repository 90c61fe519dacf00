"""Several processes that train one network, as ``torchrun`` starts them; alone otherwise.

Every process draws the whole batch's randomness and works on its own part of it, and the gradients
are averaged: the same training as one process's, up to the last bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of one training.

    Attributes:
        rank: of this one; 0 speaks for all: saves, reports, draws sheets.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that saves and reports."""
        return self.rank == 0

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        joined = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(joined)
        joined /= self.count
        start = 0
        for gradient in gradients:
            part = joined[start : start + gradient.numel()]
            gradient.copy_(part.view(gradient.shape))
            start += gradient.numel()

    def mean(self, value: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value /= self.count
        return value

    def any(self, flag: bool, device: torch.device) -> bool:
        """Tell whether any process says yes; all get the same answer."""
        if self.count == 1:
            return flag
        said = torch.tensor(float(flag), device=device)
        distributed.all_reduce(said)
        return bool(said > 0)


@contextmanager
def crew(device: torch.device) -> Iterator[Crew]:
    """Join the processes that ``torchrun`` started beside this one, and leave them at the end.

    Args:
        device: where the network lives; on CUDA each process uses the device of its local rank.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Crew()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Crew(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()

"""Where a network runs and in what precision."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from mien.core.errors import Invalid
from mien.training.precision import Device, Precision

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and the precision used on it.

    Attributes:
        device: where tensors live.
        bf16: convolutions and matrix products in bfloat16; weights stay fp32.
    """

    device: torch.device
    bf16: bool

    @property
    def kind(self) -> str:
        """Name of the device kind for records: ``cpu``, ``cuda:NVIDIA H200``."""
        if self.device.type == "cuda":
            return f"cuda:{torch.cuda.get_device_name(self.device)}"
        return self.device.type

    def autocast(self) -> Any:
        """Return the context in which forward passes run."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def seed(self, seed: int) -> None:
        """Restart the device's default generator, which dropout draws from."""
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)


def place(device: Device, precision: Precision) -> Placement:
    """Choose a device and a precision.

    bf16 pays on processors that multiply in it (AVX-512 BF16, AMX) and on GPUs since Ampere;
    elsewhere it is emulated and slower than fp32.

    Raises:
        Invalid: ``NO_CUDA`` when CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise Invalid(
            "NO_CUDA",
            "device cuda was asked for, but no CUDA device is usable here",
            hint="set the device to auto or cpu; mien doctor shows what torch can use",
        )
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    bf16 = precision == "bf16" or (precision == "auto" and has_bf16(kind))
    return Placement(torch.device(kind), bf16)


def has_bf16(kind: str) -> bool:
    """Tell whether a kind of device multiplies bfloat16 in hardware."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what torch frees, for the next step; once a process.

    By default glibc returns blocks above some size at once, so that every step of a large network
    faults its gradients and activations in again, page by page: a third of the step's time. Other
    C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_M_MMAP_THRESHOLD, 2**30)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def reproducible(placement: Placement, threads: int) -> Iterator[None]:
    """Run with a fixed number of threads and deterministic kernels; leave no trace behind.

    The process's random state is restored at the end.
    """
    before = torch.get_num_threads()
    devices = [placement.device] if placement.device.type == "cuda" else []
    torch.set_num_threads(threads)
    try:
        with (
            torch.random.fork_rng(devices=devices),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            yield
    finally:
        torch.set_num_threads(before)

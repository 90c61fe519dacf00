"""The words for where and how exactly a network computes; importing them costs nothing."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]

"""ONNX Runtime in this process, on one thread unless told otherwise."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from mien.core.digest import digest_file


def session(model: Path, *, threads: int = 1) -> Any:
    """Open a model file; the last few are kept, by content."""
    return _opened(digest_file(model), threads, str(model))


@lru_cache(maxsize=4)
def _opened(_digest: str, threads: int, model: str) -> Any:
    return open_session(Path(model).read_bytes(), threads=threads)


def open_session(model: bytes, *, threads: int = 1) -> Any:
    """Open a model from its bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

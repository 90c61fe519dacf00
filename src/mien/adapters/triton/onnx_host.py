"""The repository's models on ONNX Runtime in this process: for machines without Triton, and tests.

It serves the same folders under the same names, a front included, and answers the same numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.adapters.triton.repository import INPUT, fronted
from mien.core.arrays import Float, UInt8
from mien.core.errors import Invalid, NotFound
from mien.recognition.package import verify_checksums


class OnnxHost:
    """A ``ModelHost`` without a server: one session a model, calls one after the other."""

    def __init__(self, repository: Path, *, threads: int = 1) -> None:
        self.repository = repository
        self._threads = threads
        self._sessions: dict[str, Any] = {}
        self._fronts: dict[str, str] = {}
        self._lock = threading.Lock()

    def load(self, model: str) -> None:
        """Load a model of the repository, or the front that stands before one.

        Raises:
            NotFound: ``MODEL_NOT_LOADED``. Corrupt: ``MODEL_FILES``.
        """
        behind = fronted(self.repository, model)
        if behind:
            if behind not in self._sessions:
                self.load(behind)
            self._fronts[model] = behind
            return
        folder = self.repository / model
        files = sorted(folder.glob("*/model.onnx"))
        if len(files) != 1:
            raise NotFound("MODEL_NOT_LOADED", f"{folder} holds no model", hint="promote it first")
        verify_checksums(folder)
        from mien.recognition.onnx_run import open_session

        self._sessions[model] = open_session(files[0].read_bytes(), threads=self._threads)

    def unload(self, model: str) -> None:
        """Forget a model; nothing happens when it is not loaded."""
        self._sessions.pop(model, None)
        self._fronts.pop(model, None)

    def loaded(self) -> Sequence[str]:
        """Names of the models and fronts that can be asked."""
        return sorted({*self._sessions, *self._fronts})

    def infer(self, model: str, images: UInt8, *, timeout_s: float) -> Mapping[str, Float]:  # noqa: ARG002
        """Judge faces (N, S, S[, 3]) uint8: output name → (N, …) float32.

        Raises:
            NotFound: ``MODEL_NOT_LOADED``. Invalid: ``IMAGE_SIZE``.
        """
        session = self._sessions.get(self._fronts.get(model, model))
        if session is None:
            raise NotFound("MODEL_NOT_LOADED", f"{model} is not loaded", hint="load it first")
        expected = tuple(session.get_inputs()[0].shape[1:])
        if images.shape[1:] != expected:
            told = f"{model} takes faces {expected}, not {images.shape[1:]}"
            raise Invalid("IMAGE_SIZE", told, hint="preprocess with the model's spec")
        names = [output.name for output in session.get_outputs()]
        with self._lock:
            answers = session.run(names, {INPUT: images})
        return dict(zip(names, answers, strict=True))

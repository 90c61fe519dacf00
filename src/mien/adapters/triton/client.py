"""Triton over gRPC: load, unload, infer with a deadline; its refusals as errors of ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from mien.core.arrays import Float, UInt8
from mien.core.errors import Exhausted, Invalid, MienError, NotFound, Unavailable

if TYPE_CHECKING:
    from tritonclient.grpc.service_pb2 import ModelInferResponse

INPUT = "images"
MAX_MESSAGE = 64 << 20
RETRY_S = 0.05  # what a full queue needs to drain a batch or two
_TYPES = {"FP32": np.float32}


class TritonClient:
    """A ``ModelHost`` over Triton's gRPC address.

    Triton counts no rejections of full queues: ``rejected`` does.
    """

    def __init__(self, target: str, *, load_timeout_s: float = 60.0) -> None:
        """Open a channel; nothing is contacted yet.

        Args:
            target: ``host:port``.
            load_timeout_s: for loading a model.
        """
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self.target = target
        self.rejected = 0
        self._lock = threading.Lock()
        self._load_timeout_s = load_timeout_s
        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = grpc.insecure_channel(target, options)
        self._words = service_pb2
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def live(self, timeout_s: float = 1.0) -> bool:
        """Tell whether the server answers at all."""
        try:
            asked = self._words.ServerLiveRequest()
            return bool(self._stub.ServerLive(asked, timeout=timeout_s).live)
        except grpc.RpcError:
            return False

    def load(self, model: str) -> None:
        """Load a model of the repository, or load it anew when its files changed.

        Raises:
            Invalid: ``MODEL_NOT_LOADED`` when Triton cannot load it.
            Unavailable: ``TRITON_UNAVAILABLE``.
        """
        asked = self._words.RepositoryModelLoadRequest(model_name=model)
        self._call(self._stub.RepositoryModelLoad, asked, self._load_timeout_s)

    def unload(self, model: str) -> None:
        """Unload a model and wait until it is gone; nothing happens when it is not loaded.

        Raises:
            Unavailable: ``TRITON_UNAVAILABLE``.
        """
        asked = self._words.RepositoryModelUnloadRequest(model_name=model)
        self._call(self._stub.RepositoryModelUnload, asked, self._load_timeout_s)
        deadline = time.monotonic() + self._load_timeout_s
        while model in self._states(("READY", "UNLOADING")) and time.monotonic() < deadline:
            time.sleep(0.02)

    def loaded(self) -> Sequence[str]:
        """Names of the models that are ready.

        Raises:
            Unavailable: ``TRITON_UNAVAILABLE``.
        """
        return self._states(("READY",))

    def _states(self, wanted: Sequence[str]) -> list[str]:
        asked = self._words.RepositoryIndexRequest(ready=False)
        answer = self._call(self._stub.RepositoryIndex, asked, 10.0)
        return sorted({each.name for each in answer.models if each.state in wanted})

    def infer(self, model: str, images: UInt8, *, timeout_s: float) -> Mapping[str, Float]:
        """Judge faces (N, S, S[, 3]) uint8: output name → (N, …) float32.

        Raises:
            Exhausted: ``QUEUE_FULL``. Unavailable: ``TRITON_UNAVAILABLE``.
            NotFound: ``MODEL_NOT_LOADED``. Invalid: ``IMAGE_SIZE``.
        """
        asked = self._words.ModelInferRequest(model_name=model)
        asked.inputs.add(name=INPUT, datatype="UINT8", shape=images.shape)
        asked.raw_input_contents.append(images.tobytes())
        return _arrays(self._call(self._stub.ModelInfer, asked, timeout_s))

    def _call(self, call: Callable[..., Any], asked: Any, timeout_s: float) -> Any:
        try:
            return call(asked, timeout=timeout_s)
        except grpc.RpcError as error:
            ours = _ours(error, self.target)
            if isinstance(ours, Exhausted):
                with self._lock:
                    self.rejected += 1
            raise ours from None


def _arrays(answer: ModelInferResponse) -> dict[str, Float]:
    raw = answer.raw_output_contents
    found: dict[str, Float] = {}
    for output, data in zip(answer.outputs, raw, strict=True):
        values = np.frombuffer(data, _TYPES[output.datatype])
        found[output.name] = values.reshape(tuple(output.shape))
    return found


def _ours(error: Any, target: str) -> MienError:
    code, said = error.code(), str(error.details())
    waited = "timeout" in said.lower() and code is grpc.StatusCode.UNAVAILABLE
    if "maximum queue size" in said.lower() or waited:
        return Exhausted(
            "QUEUE_FULL",
            "more faces wait to be judged than the queue takes",
            hint="ask again in a moment",
            details={"retry_after_s": str(RETRY_S)},
        )
    if code is grpc.StatusCode.NOT_FOUND or "is not found" in said or "not ready" in said:
        return NotFound("MODEL_NOT_LOADED", f"Triton: {said}", hint="load it first")
    if code is grpc.StatusCode.INVALID_ARGUMENT and "failed to load" not in said:
        kind = "IMAGE_SIZE" if "shape" in said else "MODEL_NOT_LOADED"
        return Invalid(kind, f"Triton: {said}", hint="look into Triton's log")
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return Invalid("MODEL_NOT_LOADED", f"Triton: {said}", hint="look into Triton's log")
    return Unavailable(
        "TRITON_UNAVAILABLE",
        f"Triton at {target} did not answer: {said or code.name}",
        hint="ask again in a moment; `mien doctor` says more",
        details={"retry_after_s": "1"},
    )

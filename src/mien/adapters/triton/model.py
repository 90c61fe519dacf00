"""What runs inside Triton's python backend: ONNX Runtime on one model file.

This file is copied into a model's version folder as ``model.py``; nothing of mien imports it, and
it imports nothing of mien: Triton runs it with an interpreter of its own.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]


class TritonPythonModel:
    """One instance: a session of its own, on as many threads as the configuration says."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model file, when it is the one that was written."""
        # With NumPy 2 the backend's stub corrupts tensors silently, both ways.
        if int(np.__version__.split(".")[0]) >= 2:
            raise triton.TritonModelException(
                f"NumPy {np.__version__} corrupts tensors silently here; install numpy 1.26.4"
            )
        config = json.loads(args["model_config"])
        said = {name: each["string_value"] for name, each in config["parameters"].items()}
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != said["sha256"]:
            raise triton.TritonModelException(f"{file} is not the file that was written")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(said["threads"])
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self.input = config["input"][0]["name"]
        self.outputs = [output["name"] for output in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Judge the faces of all requests in one run, and deal the answers out again."""
        faces = [triton.get_input_tensor_by_name(r, self.input).as_numpy() for r in requests]
        together = faces[0] if len(faces) == 1 else np.concatenate(faces)
        answers = self.session.run(self.outputs, {self.input: together})
        ends = np.cumsum([len(f) for f in faces])
        return [
            triton.InferenceResponse(
                [
                    triton.Tensor(name, np.ascontiguousarray(answer[end - len(mine) : end]))
                    for name, answer in zip(self.outputs, answers, strict=True)
                ]
            )
            for mine, end in zip(faces, ends, strict=True)
        ]

"""Render a model package as a folder that Triton serves, here or in a cluster.

A promoted model gets a folder of its own that is never changed:

```
expression-7/config.pbtxt          one model of one version
expression-7/7/model.onnx
expression-7/7/model.py            backend python only
expression-7/checksums.json
expression/config.pbtxt            the name that clients use: hands everything to expression-7
expression/1/
```

Changing the champion rewrites and reloads the small front alone, in milliseconds, and neither
model is unloaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mien.core.errors import Corrupt, Invalid
from mien.recognition.package import Package, Variant, verify_checksums, write_checksums
from mien.registry.staging import sync

if TYPE_CHECKING:
    from mien.recognition.package import PackageSpec

INPUT = "images"
MODEL_PY = Path(__file__).with_name("model.py")
LEAST_BATCH, MOST_BATCH = 8, 256
Backend = Literal["python", "onnxruntime"]


@dataclass(frozen=True, slots=True)
class HostSpec:
    """How models are hosted; changes no answer.

    Attributes:
        backend: ``python`` runs ONNX Runtime in Triton's python backend; ``onnxruntime`` is the
            backend of full Triton images.
        instances: of a model, a thread each.
        max_batch: faces in a merged batch, 8..256.
        delay_us: a request waits at most so long for others to be merged with.
        max_queue: requests that wait; more are rejected at once.
        queue_timeout_us: a request that waited so long is rejected.
    """

    backend: Backend = "python"
    instances: int = 1
    max_batch: int = 64
    delay_us: int = 200
    max_queue: int = 256
    queue_timeout_us: int = 5_000_000

    def __post_init__(self) -> None:
        if not LEAST_BATCH <= self.max_batch <= MOST_BATCH:
            raise Invalid(
                "MAX_BATCH",
                f"max_batch {self.max_batch} is outside {LEAST_BATCH}..{MOST_BATCH}",
                hint="the golden faces are asked as one batch; networks are exported for 256",
            )


def hosted_name(model: str, version: str, variant: Variant = "fp32") -> str:
    """Name a promoted model in the repository: ``expression-7``."""
    return f"{model}-{version}" if variant == "fp32" else f"{model}-{version}-{variant}"


def render_model(
    repository: Path, package: Package, version: str, name: str, variant: Variant, spec: HostSpec
) -> str:
    """Write a package's model folder whole, or find it there already; returns its digest.

    Raises:
        Corrupt: ``MODEL_FILES`` when a folder of that name has other content.
        NotFound: ``NO_VARIANT``.
    """
    temporary = repository / f".{name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    inner = temporary / version
    inner.mkdir(parents=True)
    try:
        data = package.model(variant).read_bytes()
        _write(inner / "model.onnx", data)
        if spec.backend == "python":
            _write(inner / "model.py", MODEL_PY.read_bytes())
            # A file in the way of the folder that the stub's interpreter would write bytecode
            # to, whatever its environment says: Triton would take the model for modified.
            _write(inner / "__pycache__", b"")
        config = model_config(package.spec, name, hashlib.sha256(data).hexdigest(), spec)
        _write(temporary / "config.pbtxt", config.encode())
        digest = write_checksums(temporary)
        sync(temporary)
        return _move_in(temporary, repository / name, digest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_in(temporary: Path, folder: Path, digest: str) -> str:
    if folder.exists():
        try:
            return _same_model(temporary, folder)
        except Corrupt as error:
            if error.reason == "OTHER_MODEL":
                raise
            shutil.rmtree(folder)  # half removed, or damaged: what it should be is known
    temporary.rename(folder)
    sync(folder.parent)
    return digest


def _same_model(rendered: Path, folder: Path) -> str:
    """Return the digest of a folder that exists, when it serves the same network.

    Its configuration may be an older one: a promoted model's folder never changes.
    """
    digest = verify_checksums(folder)
    mine, theirs = (next(f.glob("*/model.onnx")).read_bytes() for f in (rendered, folder))
    if mine != theirs:
        raise Corrupt(
            "OTHER_MODEL",
            f"{folder} serves another network than the model that is registered under its name",
            hint="register the model anew: a version's number is never used twice",
        )
    return digest


def render_front(
    repository: Path, package: PackageSpec, front: str, name: str, max_batch: int
) -> None:
    """Point the name that clients use at a hosted model; the file changes in one step."""
    folder = repository / front
    (folder / "1").mkdir(parents=True, exist_ok=True)
    temporary = folder / ".config.pbtxt.tmp"
    _write(temporary, front_config(package, front, name, max_batch).encode())
    temporary.replace(folder / "config.pbtxt")
    sync(folder)


def fronted(repository: Path, front: str) -> str:
    """Return the hosted model that a front's file points at, or ""."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        text = (repository / front / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        return str(config.ensemble_scheduling.step[0].model_name)
    except (OSError, text_format.ParseError, IndexError):
        return ""


def model_config(package: PackageSpec, name: str, sha256: str, spec: HostSpec) -> str:
    """Write a model's ``config.pbtxt``."""
    config = _interface(package, name, spec.max_batch)
    config.backend = spec.backend
    config.instance_group.add(kind="KIND_CPU", count=spec.instances)
    config.dynamic_batching.max_queue_delay_microseconds = spec.delay_us
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = policy.REJECT
    policy.default_timeout_microseconds = spec.queue_timeout_us
    policy.allow_timeout_override = True
    policy.max_queue_size = spec.max_queue
    warm = config.model_warmup.add(name="one", batch_size=1)
    warm.inputs[INPUT].data_type = config.input[0].data_type
    warm.inputs[INPUT].dims.extend(package.image_shape)
    warm.inputs[INPUT].random_data = True
    if spec.backend == "python":
        config.parameters["sha256"].string_value = sha256
        config.parameters["threads"].string_value = "1"
    else:
        config.default_model_filename = "model.onnx"
        config.parameters["intra_op_thread_count"].string_value = "1"
    return _text(config)


def front_config(package: PackageSpec, front: str, name: str, max_batch: int) -> str:
    """Write the ``config.pbtxt`` of an ensemble of one step."""
    config = _interface(package, front, max_batch)
    config.platform = "ensemble"
    step = config.ensemble_scheduling.step.add(model_name=name, model_version=-1)
    step.input_map[INPUT] = INPUT
    for output in package.outputs:
        step.output_map[output] = output
    return _text(config)


def _interface(package: PackageSpec, name: str, max_batch: int) -> Any:
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch)
    config.input.add(name=INPUT, data_type="TYPE_UINT8", dims=package.image_shape)
    for output, width in package.outputs.items():
        config.output.add(name=output, data_type="TYPE_FP32", dims=[width])
    return config


def _text(config: Any) -> str:
    from google.protobuf import text_format

    return str(text_format.MessageToString(config))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)

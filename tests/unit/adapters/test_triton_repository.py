"""The repository that Triton reads, as text and as folders."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from mien.adapters.triton.onnx_host import OnnxHost
from mien.adapters.triton.repository import (
    HostSpec,
    fronted,
    hosted_name,
    model_config,
    render_front,
    render_model,
)
from mien.core.errors import Invalid
from mien.recognition.package import verify_checksums
from tests.integration.serving.tiny import tiny_package


def parsed(text):
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("backend", ["python", "onnxruntime"])
def test_the_configuration_says_how_a_model_is_served(tmp_path, backend):
    """One description, two backends: interface, merging, queue, warm-up and instances are equal."""
    package = tiny_package(tmp_path / "p", affect=True)
    spec = HostSpec(backend=backend, instances=3, max_batch=32, max_queue=7)
    config = parsed(model_config(package.spec, "expression-7", "abc", spec))
    assert (config.name, config.backend, config.max_batch_size) == ("expression-7", backend, 32)
    assert [(i.name, list(i.dims)) for i in config.input] == [("images", [16, 16])]
    assert config.input[0].data_type == model_config_pb2.TYPE_UINT8
    assert {o.name: list(o.dims) for o in config.output} == {
        "probabilities": [6],
        "logits": [6],
        "affect": [2],
    }
    policy = config.dynamic_batching.default_queue_policy
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert (policy.max_queue_size, policy.allow_timeout_override) == (7, True)
    assert policy.default_timeout_microseconds > 0
    assert [(g.count, g.kind) for g in config.instance_group] == [
        (3, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    ]
    assert list(config.model_warmup[0].inputs["images"].dims) == [16, 16]
    if backend == "onnxruntime":
        assert config.default_model_filename == "model.onnx"
    else:
        assert config.parameters["sha256"].string_value == "abc"


def test_a_models_folder_has_a_version_and_its_checksums(tmp_path):
    """The cluster's backend needs no model.py; rendering again changes nothing."""
    package = tiny_package(tmp_path / "p")
    for backend in ("python", "onnxruntime"):
        repository = tmp_path / backend
        repository.mkdir()
        spec = HostSpec(backend=backend)
        digest = render_model(repository, package, "7", "expression-7", "fp32", spec)
        folder = repository / "expression-7"
        assert verify_checksums(folder) == digest
        assert (folder / "7" / "model.py").exists() == (backend == "python")
        assert (folder / "7" / "model.onnx").read_bytes() == package.model().read_bytes()
        assert render_model(repository, package, "7", "expression-7", "fp32", spec) == digest
        assert [p.name for p in repository.iterdir()] == ["expression-7"]


def test_the_front_hands_everything_to_a_model(tmp_path):
    """Its configuration is an ensemble of one step, exchanged in one step."""
    package = tiny_package(tmp_path / "p")
    assert fronted(tmp_path, "expression") == ""
    for name in ("expression-1", "expression-2"):
        render_front(tmp_path, package.spec, "expression", name, 64)
        config = parsed((tmp_path / "expression" / "config.pbtxt").read_text())
        (step,) = config.ensemble_scheduling.step
        assert (config.platform, step.model_name) == ("ensemble", name)
        assert dict(step.output_map) == {"probabilities": "probabilities", "logits": "logits"}
        assert fronted(tmp_path, "expression") == name


def test_variants_have_names_of_their_own():
    """So that both can be loaded."""
    assert hosted_name("expression", "7") == "expression-7"
    assert hosted_name("expression", "7", "int8") == "expression-7-int8"


def test_a_batch_below_the_golden_faces_is_refused():
    """They are asked as one."""
    with pytest.raises(Invalid, match="MAX_BATCH"):
        HostSpec(max_batch=4)


def test_the_same_folder_runs_without_triton(tmp_path):
    """ONNX Runtime in this process serves model and front under their names."""
    package = tiny_package(tmp_path / "p")
    repository = tmp_path / "r"
    repository.mkdir()
    render_model(repository, package, "1", "expression-1", "fp32", HostSpec())
    render_front(repository, package.spec, "expression", "expression-1", 64)
    host = OnnxHost(repository)
    host.load("expression")
    golden = package.golden()
    assert golden.deviation(host.infer("expression", golden.images, timeout_s=1)) < 1e-6
    assert host.loaded() == ["expression", "expression-1"]


def test_the_backend_refuses_a_numpy_that_corrupts(tmp_path):
    """NumPy 2 corrupts tensors silently there: the model does not load with it."""
    (tmp_path / "triton_python_backend_utils.py").write_text(
        "class TritonModelException(Exception): pass\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from mien.adapters.triton.model import TritonPythonModel as M;"
        "import numpy; assert numpy.__version__ >= '2';"
        "M().initialize({})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert re.search(r"NumPy 2.* corrupts", done.stderr), done.stderr

"""Registries of models and hosts for the tests of serving."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mien.adapters.mlflow.models import MlflowModels
from mien.adapters.serving.promotion import Promoter
from mien.adapters.triton.onnx_host import OnnxHost
from mien.adapters.triton.server import TritonHome
from mien.core.serving import GateCheck
from tests.integration.serving.tiny import tiny_package

ROOT = Path(__file__).resolve().parents[3]
TRITON = TritonHome(ROOT / ".triton")
needs_triton = pytest.mark.skipif(
    bool(TRITON.missing), reason=f"SKIPPED: Triton is not installed ({TRITON.missing}): make triton"
)


def open_gate(challenger, variant, champion):
    """A gate that lets everybody through."""
    return (GateCheck("golden", True, "not looked at"),)


@pytest.fixture(scope="session")
def known_models(tmp_path_factory):
    """A folder with a tracking database that knows expression/1 and /2, and their packages."""
    folder = tmp_path_factory.mktemp("mlflow")
    models = MlflowModels(f"sqlite:///{folder}/mlflow.db")
    models.versions()
    shutil.copy(folder / "mlflow.db", folder / "empty.db")
    for seed in (1, 2):
        models.register("expression", tiny_package(folder / f"package{seed}", seed).folder)
    return folder


@pytest.fixture
def models(known_models, tmp_path):
    """A registry with nothing in it; making a database takes seconds, copying does not."""
    shutil.copy(known_models / "empty.db", tmp_path / "mlflow.db")
    return MlflowModels(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def registered(known_models, tmp_path):
    """A registry with two models, expression/1 and expression/2; the packages lie in the folder."""
    shutil.copy(known_models / "mlflow.db", tmp_path / "mlflow.db")
    for seed in (1, 2):
        shutil.copytree(known_models / f"package{seed}", tmp_path / f"package{seed}")
    return MlflowModels(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def promoter(registered, tmp_path):
    """A serving folder over ONNX Runtime in this process."""
    home = tmp_path / "serving"
    return Promoter(home, registered, OnnxHost(home / "repository"), gate=open_gate)

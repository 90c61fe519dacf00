"""Data sets that a retraining takes from a registry."""

from __future__ import annotations

import copy

import pytest

from mien.core.errors import NotFound
from mien.datasets.table import read
from mien.params.project import parse_params
from mien.registry.folder_registry import FolderRegistry
from mien.registry.read import open_version
from mien.stages.retrain_given import fetch_given, resolved
from tests.contract.registry_faces import create
from tests.integration.retrain.runner import PARAMS
from tests.integration.serving.test_faces import bright_faces


def reading(root):
    """Parameters that read a database from a folder."""
    params = copy.deepcopy(PARAMS)
    params["ingest"]["lab"] = {"reader": "parquet", "root": root}
    return parse_params(params)


def test_a_version_is_fetched_once_into_a_folder_of_its_digest(tmp_path):
    """By name or alias it is resolved to its digest; the reader reads what was registered."""
    registry = FolderRegistry(tmp_path / "registry")
    made = create(registry, "people", bright_faces(3), licences={})
    registry.set_alias("people", "production", made.digest)
    ((name, where),) = resolved(registry, [("lab", "people@production")])
    assert (name, where) == ("lab", f"data/given/{made.digest}")
    (folder,) = fetch_given(tmp_path, reading(where), registry)
    version = open_version(folder)
    assert version.verify() is None
    assert version.info.digest == made.digest
    assert fetch_given(tmp_path, reading(where), registry) == []
    found = list(read("parquet", folder, {}).items)
    assert [i.sample.id for i in found] == [i.sample.id for i in registry.items("people")]


def test_what_the_registry_does_not_have_is_said(tmp_path):
    """Both when it is named and when it is missing here; other folders are nobody's business."""
    registry = FolderRegistry(tmp_path / "registry")
    with pytest.raises(NotFound):
        resolved(registry, [("lab", "nobody@production")])
    with pytest.raises(NotFound):
        fetch_given(tmp_path, reading(f"data/given/{'a' * 64}"), registry)
    assert fetch_given(tmp_path, reading("faces/of/mine"), registry) == []

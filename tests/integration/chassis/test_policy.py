"""The policy table against the protos."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from mien.wire.channel import methods
from services.chassis.policy import POLICIES, RANK

RPCS = {f"/{service}/{method.name}": method for service, method in methods()}
PROTOS = Path(__file__).resolve().parents[3] / "proto"


def test_every_rpc_is_in_the_policy_table():
    """A new RPC is answered to nobody until it is known who may call it."""
    ours = {method for method in POLICIES if method.startswith("/mien.")}
    assert set(RPCS) == ours


def test_every_proto_file_with_a_service_is_looked_at():
    """A fifth service cannot be forgotten by the test above."""
    written = {
        f"{importlib.import_module(_module(file)).DESCRIPTOR.package}.{name}"
        for file in PROTOS.rglob("*.proto")
        for name in importlib.import_module(_module(file)).DESCRIPTOR.services_by_name
    }
    assert written == {service for service, _ in methods()}


def _module(file):
    return ".".join(file.relative_to(PROTOS).with_suffix("").parts) + "_pb2"


@pytest.mark.parametrize("rpc", sorted(RPCS))
def test_what_changes_something_takes_more_than_a_viewer(rpc):
    """Create, Import, Set, Delete, Cancel, Promote, Rollback are not for viewers."""
    changes = rpc.rpartition("/")[2].startswith(
        ("Create", "Import", "Set", "Delete", "Cancel", "Promote", "Rollback")
    )
    assert (RANK[POLICIES[rpc].role] > 0) == changes


@pytest.mark.parametrize("rpc", sorted(RPCS))
def test_what_streams_does_not_take_the_place_of_short_calls(rpc):
    """Streams run in their own lane, watches in another."""
    method = RPCS[rpc]
    name = rpc.rpartition("/")[2]
    streams = method.client_streaming or method.server_streaming
    lane = "watches" if name.startswith("Watch") else "streams" if streams else "calls"
    assert POLICIES[rpc].lane == lane


@pytest.mark.parametrize("name", ["PromoteModel", "RollbackModel"])
def test_only_promoters_move_the_champion(name):
    """Promotion and its way back need the highest role."""
    assert POLICIES[f"/mien.api.serving.v1.ServingService/{name}"].role == "promoter"

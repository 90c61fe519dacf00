"""Ports over the wire: a real server on a free loopback port behind each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from mien.core.ports import Registry
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.registry_client import RegistryClient
from services.chassis.testing import running
from services.registry.mount import mount as mount_registry


def registry_service(folder: Path, request: pytest.FixtureRequest) -> Callable[[], Registry]:
    """Serve a registry until the test ends; each client has a channel of its own."""
    stack = ExitStack()
    request.addfinalizer(stack.close)
    target = stack.enter_context(
        running("registry", mount_registry, data=folder, import_roots=(folder.parent,))
    )

    def client() -> Registry:
        return RegistryClient(stack.enter_context(open_channel(target, Settings())))

    return client

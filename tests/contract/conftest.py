"""Fixtures of the contracts."""

from tests.contract.control_plane import control_plane, namespace, pytest_terminal_summary
from tests.contract.executors import executors

__all__ = ["control_plane", "executors", "namespace", "pytest_terminal_summary"]

"""Fixtures of the contracts."""

from tests.contract.control_plane import control_plane, pytest_terminal_summary
from tests.contract.executors import executors

__all__ = ["control_plane", "executors", "pytest_terminal_summary"]

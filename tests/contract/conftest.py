"""Fixtures of the contracts."""

from tests.contract.executors import executors

try:
    from tests.contract.control_plane import control_plane
except ImportError:  # the contract says so where it would have used it
    __all__ = ["executors"]
else:
    __all__ = ["control_plane", "executors"]

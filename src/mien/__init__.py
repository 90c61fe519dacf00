"""mien: how much synthetic face data to add, whether the gain is real, and whether it can ship."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mien")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]

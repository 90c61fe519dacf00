"""mien: how much synthetic face data to add, whether the gain is real, and whether it can ship."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: ``importlib.metadata`` is slow to import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("mien")
    except PackageNotFoundError:  # a source tree on the path, not installed
        found = "0+unknown"
    globals()["__version__"] = found
    return found

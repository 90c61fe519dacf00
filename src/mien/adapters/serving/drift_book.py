"""What serving keeps of the faces it judged, in a folder: sums by model and by stretch of time.

```
drift/expression-7/reference.npz      what the model's training version looked like
drift/expression-7/1763683200.json    a window: blocks of 32 faces or more, as sums
```

There is no picture, no feature vector and no name in it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.core.errors import Conflict, Corrupt, NotFound
from mien.evaluation.drift_reference import Reference
from mien.evaluation.drift_window import Window
from mien.registry.staging import disk_errors, sync

FOLDER, REFERENCE = "drift", "reference.npz"


class DriftBook:
    """The folder of one serving service. Every file in it is whole."""

    def __init__(self, home: Path) -> None:
        """Look at ``home``'s folder; nothing is made before something is kept."""
        self.folder = home / FOLDER

    def models(self) -> Sequence[str]:
        """Hosted models that something was kept for, the last used last."""
        found = [p for p in self.folder.glob("*/") if (p / REFERENCE).is_file()]
        return [p.name for p in sorted(found, key=_last_used)]

    def keep_reference(self, model: str, reference: Reference) -> None:
        """Remember what a model's windows are compared with; another one starts it afresh."""
        folder = self.folder / model
        data = _packed(reference)
        with disk_errors(folder):
            if (folder / REFERENCE).is_file() and (folder / REFERENCE).read_bytes() != data:
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            for half_written in folder.glob(".*"):  # by a process that was killed
                half_written.unlink(missing_ok=True)
            _replace(folder / REFERENCE, data)

    def reference(self, model: str) -> Reference:
        """Read it.

        Raises:
            NotFound: ``NO_DRIFT_KEPT``. Corrupt: ``DRIFT_REFERENCE``.
        """
        file = self.folder / model / REFERENCE
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return Reference.from_arrays(dict(arrays))
        except FileNotFoundError:
            raise NotFound(
                "NO_DRIFT_KEPT",
                f"nothing was kept of what {model} saw: {file} does not exist",
                hint="start serving with MIEN_SERVER_DRIFT=true, with a model registered since",
            ) from None
        except (OSError, ValueError) as error:
            raise Corrupt(
                "DRIFT_REFERENCE", f"{file} is damaged: {error}", hint="remove its folder"
            ) from None

    def keep(self, model: str, window: Window) -> None:
        """Write a window, in the place of what was known of it."""
        file = self.folder / model / f"{window.start}.json"
        with disk_errors(file.parent):
            _replace(file, json.dumps(window.to_json()).encode())

    def windows(self, model: str, since: float = 0.0, until: float = np.inf) -> list[Window]:
        """Read the windows that begin in [since, until), seconds since 1970, in order.

        Raises:
            Corrupt: ``DRIFT_SKETCH`` naming the file.
        """
        found = []
        for file in (self.folder / model).glob("*.json"):
            if not (file.stem.isdecimal() and since <= int(file.stem) < until):
                continue
            try:
                values = json.loads(file.read_text(encoding="utf-8"))
                found.append(Window.from_json(values))
            except (ValueError, Corrupt) as error:
                raise Corrupt(
                    "DRIFT_SKETCH", f"{file} is damaged: {error}", hint="remove the file"
                ) from None
        return sorted(found, key=lambda w: w.start)

    def forget(self, before: float) -> None:
        """Remove windows that began before a moment."""
        for file in self.folder.glob("*/*.json"):
            if file.stem.isdecimal() and int(file.stem) < before:
                file.unlink(missing_ok=True)


def common_reference(books: Sequence[DriftBook], model: str) -> Reference:
    """Read what the windows of several services are compared with.

    Args:
        books: of replicas; those that served another model do not count.
        model: a hosted model.

    Raises:
        NotFound: ``NO_DRIFT_KEPT`` where none of them served it.
        Conflict: ``OTHER_REFERENCE`` where they hold different ones under the same name.
    """
    mine = [book for book in books if model in book.models()] or [books[0]]
    found = [book.reference(model) for book in mine]
    if len({_packed(each) for each in found}) > 1:
        raise Conflict(
            "OTHER_REFERENCE",
            f"{model} is not the same model in all of {', '.join(str(b.folder) for b in mine)}",
            hint="give folders of replicas of one service",
        )
    return found[0]


def _packed(reference: Reference) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **reference.to_arrays())
    return buffer.getvalue()


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(data)
    sync(temporary)
    temporary.replace(file)
    sync(file.parent)


def _last_used(folder: Path) -> float:
    return max(file.stat().st_mtime for file in folder.iterdir())

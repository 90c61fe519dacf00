"""Change ``params.yaml`` as a retraining was asked to; comments and order stay."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid, NotFound
from mien.core.overrides import set_key
from mien.params.project import parse_params
from mien.stages.context import whole, write_json

OPEN = "open.json"


@dataclass(frozen=True, slots=True)
class Change:
    """What shall be another than in the parameter file.

    Attributes:
        overrides: ``section.key=value``.
        ratios: that are tried instead of the file's; () = the file's.
        datasets: ingested database → folder of the dataset version to read instead.
    """

    overrides: tuple[str, ...] = ()
    ratios: tuple[int, ...] = ()
    datasets: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """Say each change as one would give it on the command line."""
        ratios = [f"sweep.ratios={json.dumps(list(self.ratios))}"] if self.ratios else []
        return [*self.overrides, *ratios, *(f"ingest.{n}={where}" for n, where in self.datasets)]


def changed_text(text: str, change: Change) -> str:
    """Return the parameter file's text with the change in it; validated as a whole.

    Args:
        text: of ``params.yaml``.
        change: what was asked for; none returns the text as it is.

    Raises:
        Invalid: ``PARAMS_OVERRIDE``, ``PARAMS``. NotFound: ``UNKNOWN_DATABASE``.
    """
    from ruamel.yaml import YAML

    if change != Change():
        editor = YAML()
        editor.preserve_quotes = True
        editor.width = 100
        tree = editor.load(text)
        for override in change.overrides:
            set_key(tree, override)
        if change.ratios:
            _section(tree, "sweep")["ratios"] = list(change.ratios)
        for name, folder in change.datasets:
            _read_instead(tree, name, folder)
        out = io.StringIO()
        editor.dump(tree, out)
        text = out.getvalue()
    parse_params(yaml.safe_load(text), "params.yaml as changed")
    return text


def _section(tree: Any, name: str) -> Any:
    if not isinstance(found := tree.get(name), dict):
        raise Invalid(
            "PARAMS", f"params.yaml has no section {name}", hint="see docs/howto/params.md"
        )
    return found


def _read_instead(tree: Any, name: str, folder: str) -> None:
    databases = _section(tree, "ingest")
    if name not in databases:
        raise NotFound(
            "UNKNOWN_DATABASE",
            f"params.yaml ingests no database {name!r}",
            hint=f"it ingests {', '.join(databases)}",
        )
    databases[name] = {"reader": "parquet", "root": folder}


class ParamsFile:
    """The parameter file of a project while a retraining may have changed it.

    A retraining that was killed leaves its change there, and beside its journal what the file was
    before: the next one starts from that, whatever it is asked for.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        """Prepare.

        Args:
            file: ``params.yaml``.
            folder: of the branch's retrainings.
        """
        self.file, self.open = file, folder / OPEN

    def original(self) -> str:
        """Return the text without what an unfinished retraining changed.

        Raises:
            NotFound: ``PARAMS_FILE``.
        """
        try:
            text = self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise NotFound(
                "PARAMS_FILE", f"{self.file} does not exist", hint="run in the project"
            ) from None
        left = self._left()
        return left["before"] if left and left["after"] == _digest(text) else text

    def change(self, before: str, after: str) -> None:
        """Write the changed text, after noting what was there."""
        if before != after:
            write_json(self.open, {"before": before, "after": _digest(after)})
        self._write(after)

    def keep(self) -> None:
        """Let the change stay: the retraining is complete."""
        self.open.unlink(missing_ok=True)

    def restore(self) -> None:
        """Take the change back: nothing came of it."""
        self._write(self.original())
        self.open.unlink(missing_ok=True)

    def _write(self, text: str) -> None:
        if self.file.read_text(encoding="utf-8") != text:
            with whole(self.file) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _left(self) -> Mapping[str, str] | None:
        try:
            found = json.loads(self.open.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) and {"before", "after"} <= set(found) else None


def _digest(text: str) -> str:
    return digest_bytes(text.encode())


def parse_datasets(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read ``database=reference`` pairs.

    Raises:
        Invalid: ``OPTION_PAIR``.
    """
    found = []
    for pair in given:
        name, equals, reference = pair.partition("=")
        if not (name and equals and reference):
            raise Invalid(
                "OPTION_PAIR",
                f"--dataset {pair!r} is not DATABASE=REFERENCE",
                hint="for example --dataset lab=faces@production, or lab=<folder of a version>",
            )
        found.append((name, reference))
    return tuple(found)

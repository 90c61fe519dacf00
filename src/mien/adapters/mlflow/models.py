"""Registered models and their aliases in MLflow's registry: the one record of who is champion.

MLflow cannot compare and set an alias in one step: it is read, set and read again here, and the
serving folder's own lock keeps the promotions of one service apart.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mien.core.errors import Conflict, Corrupt, NotFound, Unavailable
from mien.core.expression import Expression
from mien.core.serving import CHALLENGER, ModelInfo, ModelLineage, ModelReference
from mien.recognition.package import MODEL_FILES, Package, read_package

log = logging.getLogger(__name__)

PACKAGE = "package"  # artefact folder of the run that registered it
RUN_TAG = "mien.run"
EXPERIMENT = "models"
NOTE_LIMIT = 4900


class MlflowModels:
    """A ``Models`` over MLflow; importing MLflow (1.7 s) waits for the first call."""

    def __init__(self, uri: str) -> None:
        """Prepare; nothing is contacted yet.

        Args:
            uri: of the tracking server or database.
        """
        self.uri = uri
        self._opened: Any = None

    def register(
        self, name: str, package: Path, *, run: str = "", alias: str = CHALLENGER
    ) -> ModelInfo:
        """Register a package and point an alias at it; the same digest is kept once.

        Raises:
            Corrupt: ``MODEL_FILES``. Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        found = read_package(package)
        version = self._same(name, found.digest) or self._new(name, found, run)
        with _answering(self.uri):
            self._client().set_registered_model_alias(name, alias, version)
        return self.get(f"{name}/{version}")

    def get(self, reference: str) -> ModelInfo:
        """Find ``name/version`` or ``name@alias``.

        Raises:
            Invalid: ``MODEL_NAME``. NotFound: ``UNKNOWN_MODEL``.
            Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        asked = ModelReference.parse(reference)
        with _answering(self.uri, reference):
            client = self._client()
            version = asked.version or str(
                client.get_model_version_by_alias(asked.model, asked.alias).version
            )
            found = client.get_model_version(asked.model, version)
        return _info(found, reference)

    def pointed(self, name: str, alias: str) -> str | None:
        """Return the version that an alias points at; None when it points nowhere.

        An SQLite file is asked without MLflow: a service that has no model yet stays small, and
        asking makes no database.

        Raises:
            Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        if self.uri.startswith("sqlite:///"):
            return _asked_directly(Path(self.uri.removeprefix("sqlite:///")), name, alias)
        try:
            return self.get(f"{name}@{alias}").lineage.model_version
        except NotFound:
            return None

    def versions(self, name: str | None = None) -> Sequence[ModelInfo]:
        """List registered models, newest first; versions that mien did not register are left out.

        Raises:
            Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        with _answering(self.uri):
            client = self._client()
            asked = f"name = '{ModelReference(name).model}'" if name else None
            found = client.search_model_versions(asked, max_results=1000)
            # A search does not say which aliases there are.
            aliases = {each: client.get_registered_model(each) for each in {v.name for v in found}}
        mine = [v for v in found if "mien.package" in v.tags]
        infos = [_info(v, v.name, aliases[v.name].aliases) for v in mine]
        return sorted(infos, key=lambda m: m.created or datetime.min.replace(tzinfo=UTC))[::-1]

    def fetch(self, reference: str, folder: Path) -> Path:
        """Copy a model's package into ``folder``, verified.

        Raises:
            NotFound: ``UNKNOWN_MODEL``. Corrupt: ``MODEL_FILES``.
            Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        info = self.get(reference)
        lineage = info.lineage
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            with _answering(self.uri, reference):
                version = self._client().get_model_version(lineage.model, lineage.model_version)
                got = self._client().download_artifacts(version.run_id, PACKAGE, beside)
            if read_package(Path(got)).digest != lineage.model_digest:
                raise Corrupt(
                    "MODEL_FILES",
                    f"the files of {info.name} are not those that were registered",
                    hint="register the model again",
                )
            shutil.rmtree(folder, ignore_errors=True)
            Path(got).replace(folder)
        return folder

    def move(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Point an alias at a version, if it points where it is expected to.

        Raises:
            Conflict: ``ALIAS_MOVED``. Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        with _answering(self.uri, name):
            now = self._aliases(name).get(alias)
            if now != expected:
                raise _moved(name, alias, now, expected)
            self._client().set_registered_model_alias(name, alias, version)
            then = self._aliases(name).get(alias)
        if then != version:
            raise _moved(name, alias, then, version)

    def note(self, reference: str, notes: Mapping[str, str]) -> None:
        """Write notes on a version.

        Raises:
            NotFound: ``UNKNOWN_MODEL``. Unavailable: ``REGISTRY_UNAVAILABLE``.
        """
        lineage = self.get(reference).lineage
        with _answering(self.uri, reference):
            for key, value in notes.items():
                self._client().set_model_version_tag(
                    lineage.model, lineage.model_version, key, value[:NOTE_LIMIT]
                )

    def _client(self) -> Any:
        if self._opened is None:
            import mien.adapters.mlflow.environment  # noqa: F401  isort: skip
            from mlflow import MlflowClient

            self._opened = MlflowClient(self.uri, self.uri)
        return self._opened

    def _aliases(self, name: str) -> dict[str, str]:
        found = self._client().get_registered_model(name).aliases
        return {alias: str(version) for alias, version in found.items()}

    def _same(self, name: str, digest: str) -> str:
        """Find the version of a package that is registered already, or ""."""
        with _answering(self.uri):
            found = self._client().search_model_versions(f"name = '{name}'", max_results=1000)
        same = [v for v in found if v.tags.get("mien.package") == digest]
        return str(same[0].version) if same else ""

    def _new(self, name: str, package: Package, run: str) -> str:
        """Log the files into the run that decided, or one of its own, and register them."""
        import mien.adapters.mlflow.environment  # noqa: F401  isort: skip
        import mlflow
        import onnx
        from mlflow.exceptions import MlflowException

        client = self._client()
        with _answering(self.uri):
            run_id = self._run(run) or client.create_run(self._experiment()).info.run_id
            try:
                client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            client.log_artifacts(run_id, str(package.folder), PACKAGE)
            mlflow.set_tracking_uri(self.uri)
            with mlflow.start_run(run_id=run_id):
                logged = mlflow.onnx.log_model(
                    onnx.load(package.folder / MODEL_FILES["fp32"]),
                    name="model",
                    save_as_external_data=False,
                    onnx_execution_providers=["CPUExecutionProvider"],
                    pip_requirements=["onnxruntime"],
                )
            made = client.create_model_version(
                name, logged.model_uri, run_id=run_id, tags=_tags(package, run_id)
            )
        return str(made.version)

    def _run(self, key: str) -> str:
        """Find the run that the tracker delivered under our key, or ""."""
        if not key:
            return ""
        experiments = [e.experiment_id for e in self._client().search_experiments()]
        found = self._client().search_runs(experiments, f"tags.`{RUN_TAG}` = '{key}'")
        return str(found[0].info.run_id) if found else ""

    def _experiment(self) -> str:
        client = self._client()
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is not None:
            return str(known.experiment_id)
        place = None
        if self.uri.startswith("sqlite:///"):
            folder = Path(self.uri.removeprefix("sqlite:///")).parent
            place = (folder / "mlartifacts" / EXPERIMENT).absolute().as_uri()
        return str(client.create_experiment(EXPERIMENT, artifact_location=place))


@contextmanager
def _answering(uri: str, asked: str = "") -> Iterator[None]:
    """Turn MLflow's errors into ours."""
    os.environ["MLFLOW_TRACKING_URI"] = uri  # always set, never defaulted
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "requests", "sqlalchemy")):
            raise
        code = getattr(error, "error_code", "")
        missing = code == "INVALID_PARAMETER_VALUE" and "alias" in str(error)
        if asked and (code == "RESOURCE_DOES_NOT_EXIST" or missing):
            raise NotFound(
                "UNKNOWN_MODEL",
                f"the model registry has no {asked}",
                hint="`mien register` registers the challenger that was decided for",
            ) from None
        raise Unavailable(
            "REGISTRY_UNAVAILABLE",
            f"the model registry at {uri} failed: {str(error)[:300]}",
            hint="run: mien doctor",
            details={"retry_after_s": "2"},
        ) from error


def _asked_directly(file: Path, name: str, alias: str) -> str | None:
    if not file.exists():
        return None
    wanted = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
    try:
        uri = f"file:{quote(str(file))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as database:
            found = database.execute(wanted, (name, alias)).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # a database that never had a model
            return None
        raise Unavailable(
            "REGISTRY_UNAVAILABLE",
            f"the model registry {file} cannot be read: {error}",
            hint="run: mien doctor",
            details={"retry_after_s": "2"},
        ) from None
    return None if found is None else str(found[0])


def _tags(package: Package, run_id: str) -> dict[str, str]:
    spec = package.spec
    return {
        "mien.package": package.digest,
        "mien.dataset": spec.dataset_digest,
        "mien.preprocess": spec.preprocess.digest,
        "mien.run_id": run_id,
        "mien.trial": spec.trial,
        "mien.expressions": ",".join(str(e) for e in spec.expressions),
        "mien.size_px": str(spec.preprocess.size_px),
        "mien.figures": json.dumps(dict(spec.figures)),
    }


def _info(found: Any, asked: str, aliases: Mapping[str, Any] | None = None) -> ModelInfo:
    tags: Mapping[str, str] = found.tags
    if "mien.package" not in tags:
        raise NotFound(
            "UNKNOWN_MODEL",
            f"{asked} was not registered by mien: it has no preprocessing and no golden answers",
            hint="register it with: mien register",
        )
    version = str(found.version)
    mine = (
        tuple(found.aliases)
        if aliases is None
        else tuple(a for a, pointed in aliases.items() if str(pointed) == version)
    )
    names = tags["mien.expressions"].split(",") if tags["mien.expressions"] else []
    return ModelInfo(
        lineage=ModelLineage(
            model=found.name,
            model_version=version,
            model_digest=tags["mien.package"],
            dataset_digest=tags.get("mien.dataset", ""),
            run_id=tags.get("mien.run_id", ""),
            preprocess_digest=tags.get("mien.preprocess", ""),
        ),
        expressions=tuple(Expression(e) for e in names),
        size_px=int(tags["mien.size_px"]),
        aliases=tuple(sorted(mine)),
        figures=json.loads(tags.get("mien.figures", "{}")),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )


def _moved(name: str, alias: str, now: str | None, expected: str | None) -> Conflict:
    return Conflict(
        "ALIAS_MOVED",
        f"{name}@{alias} points at {now or 'nothing'}, not at {expected or 'nothing'}",
        hint="somebody else moved it: look who is champion, then ask again",
    )

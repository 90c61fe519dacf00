"""Say one run to MLflow in as few calls as it allows. Importing this imports MLflow (1.7 s)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.adapters.mlflow.spool import CREATING, Finished, Point, Started
from mien.core.digest import digest_of

# Quiet, before MLflow is imported and reads it.
import mien.adapters.mlflow.environment  # noqa: F401  isort: skip
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

log = logging.getLogger(__name__)

KEY_TAG = "mien.run"
PARENT_TAG = "mlflow.parentRunId"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # what the UI shows first
VALUE_LIMIT = 6000
DIGEST_LIMIT = 32  # MLflow allows 36; the whole digest goes into a tag
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")


class Refused(Exception):
    """The server understood and will never take it."""


class MlflowRuns:
    """Runs of one tracking server or database."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)
        self.experiments: dict[str, str] = {}
        self.known: dict[str, str] = {}

    def create(self, folder: Path, started: Started, finished: Finished | None) -> dict[str, Any]:
        """Create the run; returns its id and where its artefacts go.

        A marker is written before: after a crash in between, the run is looked for by its tag
        instead of being created twice.
        """
        try:
            experiment = self._experiment(started.experiment)
            marker = folder / CREATING
            run = self._find(experiment, started.key) if marker.exists() else None
            if run is None:
                marker.touch()
                run = self.client.create_run(
                    experiment,
                    start_time=_start_ms(started, finished),
                    tags=self._tags(experiment, started),
                    run_name=started.name,
                )
        except MlflowException as error:
            raise _sorted_out(error) from error
        self.known[started.key] = run.info.run_id
        return {"run": run.info.run_id, "artifacts": run.info.artifact_uri}

    def update(self, remote: Mapping[str, Any], points: Sequence[Point]) -> None:
        """Record figures of a run that goes on."""
        names = _allowed([name for name, *_ in points])
        try:
            self.client.log_batch(
                remote["run"], [Metric(names[n], value, ms, seen) for n, value, seen, ms in points]
            )
        except MlflowException as error:
            raise _sorted_out(error) from error

    def finish(self, remote: Mapping[str, Any], finished: Finished) -> None:
        """Record everything and close the run; saying it twice changes nothing."""
        run, data = remote["run"], finished.data
        try:
            metrics, params, tags = _entities(finished)
            if metrics or params or tags:
                self.client.log_batch(run, metrics, params, tags)
            if data.inputs:
                self.client.log_inputs(run, [_dataset(n, d) for n, d in data.inputs.items()])
            if data.artifacts is not None:
                repository = get_artifact_repository(remote["artifacts"], tracking_uri=self.uri)
                repository.log_artifacts(str(data.artifacts))
            self.client.set_terminated(run, status=finished.status, end_time=finished.time_ms)
        except MlflowException as error:
            raise _sorted_out(error) from error

    def _experiment(self, name: str) -> str:
        if name not in self.experiments:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                identity = self.client.create_experiment(
                    name, _artifact_location(self.uri, name), tags=EXPERIMENT_TAGS
                )
            else:
                identity = found.experiment_id
                if found.lifecycle_stage == "deleted":
                    self.client.restore_experiment(identity)
            self.experiments[name] = identity
        return self.experiments[name]

    def _find(self, experiment: str, key: str) -> Any:
        found = self.client.search_runs(
            [experiment], f"tags.`{KEY_TAG}` = '{key}'", ViewType.ALL, max_results=1
        )
        return found[0] if found else None

    def _tags(self, experiment: str, started: Started) -> dict[str, str]:
        tags = {KEY_TAG: started.key, "mlflow.source.name": "mien", "mlflow.source.type": "LOCAL"}
        if started.parent is not None:
            tags["mien.parent"] = started.parent
            if parent := self._run_id(experiment, started.parent):
                tags[PARENT_TAG] = parent
        return tags

    def _run_id(self, experiment: str, key: str) -> str | None:
        if key not in self.known and (run := self._find(experiment, key)) is not None:
            self.known[key] = run.info.run_id
        return self.known.get(key)


def _start_ms(started: Started, finished: Finished | None) -> int:
    """When the work began: a run told about only at its end says how long it took."""
    wall_s = finished.data.metrics.get("wall_s", 0.0) if finished else 0.0
    if finished is None or not 0.0 < wall_s < 1e9:
        return started.time_ms
    return min(started.time_ms, finished.time_ms - round(1000 * wall_s))


def _entities(finished: Finished) -> tuple[list[Metric], list[Param], list[RunTag]]:
    data, now = finished.data, finished.time_ms
    last = int(data.metrics.get("images_seen", 0))
    names = _allowed([*data.metrics, *data.series, *data.params, *data.tags])
    metrics = [Metric(names[k], v, now, last) for k, v in data.metrics.items()]
    metrics += [
        Metric(names[k], value, now, step)
        for k, points in data.series.items()
        for step, value in points
    ]
    params = [Param(names[k], _short(str(v))) for k, v in data.params.items()]
    tags = [RunTag(names[k], _short(v)) for k, v in data.tags.items()]
    return metrics, params, tags


def _allowed(names: list[str]) -> dict[str, str]:
    """Map names to ones MLflow takes; two that would become the same are told apart."""
    made: dict[str, str] = {}
    for name in names:
        plain = _NOT_ALLOWED.sub("_", name)[:200] or "_"
        taken = any(p == plain and n != name for n, p in made.items())
        made[name] = f"{plain}-{digest_of(name)[:6]}" if taken else plain
    return made


def _short(value: str) -> str:
    if len(value) <= VALUE_LIMIT:
        return value
    return f"{value[: VALUE_LIMIT - 50]}… (cut; digest {digest_of(value)[:16]})"


def _dataset(name: str, digest: str) -> DatasetInput:
    source = json.dumps({"digest": digest})
    dataset = Dataset(name=name, digest=digest[:DIGEST_LIMIT], source_type="mien", source=source)
    return DatasetInput(dataset, tags=[InputTag("mien.digest", digest)])


def _artifact_location(uri: str, experiment: str) -> str | None:
    """Beside a SQLite file; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    return (folder / (re.sub(r"[^\w.-]", "_", experiment) or "_")).absolute().as_uri()


def _sorted_out(error: MlflowException) -> Exception:
    """Tell what will never be taken from what may be taken later."""
    return Refused(str(error)) if error.get_http_status_code() in (400, 413) else error

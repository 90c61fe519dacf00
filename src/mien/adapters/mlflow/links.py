"""Where the runs of a retraining are in MLflow."""

from __future__ import annotations

from mien.adapters.mlflow.models import RUN_TAG


def runs_of(uri: str, experiment: str, trial: str, *, page: str = "") -> list[tuple[str, str, str]]:
    """Find the runs that decided for a trial, newest first: name, where it is, our id of it.

    Where = its page where the tracker is a server, else its id.

    Args:
        uri: of the tracking server or database; ``none`` has no runs.
        experiment: of the project.
        trial: key of the decided trial.
        page: address of the server's pages; its own where it is one.
    """
    if uri == "none":
        return []
    import mien.adapters.mlflow.environment  # noqa: F401  isort: skip
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    site = (page or (uri if uri.startswith("http") else "")).rstrip("/")
    try:
        client = MlflowClient(uri, uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            return []
        wanted = f"params.trial = '{trial}'"
        found = client.search_runs([known.experiment_id], wanted, max_results=5)
    except MlflowException:  # a report without links is better than none
        return []
    return [
        (
            run.info.run_name,
            f"{site}/#/experiments/{known.experiment_id}/runs/{run.info.run_id}"
            if site
            else run.info.run_id,
            run.data.tags.get(RUN_TAG, ""),
        )
        for run in found
    ]

"""The one place that chooses: local or remote, which tracker, where the cache and assets lie."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mien.core.errors import EXIT_DONE, EXIT_INTERRUPTED, Interrupted, MienError, WrongState
from mien.core.hooks import Cancelled, OnProgress, never_cancelled, no_progress
from mien.core.parallel import speaks_for_all
from mien.core.ports import Executor, Generation, Models, Registry, Serving, Tracker
from mien.core.serving import Promotion
from mien.settings import Settings, load_settings

RETRAININGS = Path("runs") / "retrain"  # journals and reports, in the project

if TYPE_CHECKING:  # a service starts without what only stages need
    from mien.adapters.kubernetes.executor import KubernetesJobExecutor
    from mien.adapters.serving.local import LocalServing
    from mien.adapters.serving.steps import Gate
    from mien.adapters.triton.repository import HostSpec
    from mien.params.project import Params
    from mien.recognition.package import Variant
    from mien.stages.context import Context
    from mien.stages.retrain_doors import Doors


def make_context(
    params: Params,
    *,
    root: Path | None = None,
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
) -> Context:
    """Build the context of a project.

    Args:
        params: validated; relative roots in them start from the current folder.
        root: where ``data/`` and ``report/`` go; the current folder by default.
        progress: told about every step.
        cancelled: asked between steps.
    """
    from mien.adapters.mlflow.tracker import MlflowTracker, NullTracker
    from mien.stages.context import Context

    base = Path.cwd()
    project = (root or base).resolve()
    settings = load_settings(base)
    tracker: Tracker = (
        NullTracker()
        if settings.tracking_uri == "none" or not speaks_for_all()
        else MlflowTracker(settings.tracking_uri, spool_dir=settings.spool)
    )
    return Context(
        root=project,
        base=base,
        params=params,
        cache=settings.cache,
        assets=settings.assets,
        workers=settings.workers,
        tracker=tracker,
        executor=_executor(settings, cancelled),
        progress=progress,
        cancelled=cancelled,
        generation=_generation(settings),
        models=make_models(settings) if settings.register_models else None,
    )


def make_registry(project: Path, settings: Settings) -> Registry:
    """Return the registry: the service, or the project's own in ``registry/``.

    Args:
        project: folder of the project.
        settings: of the environment.
    """
    if settings.registry_target is None:
        from mien.registry.folder_registry import FolderRegistry

        return FolderRegistry(project / "registry")
    from mien.wire.channel import open_channel
    from mien.wire.registry_client import RegistryClient

    return RegistryClient(open_channel(settings.registry_target, settings))


def make_serving(settings: Settings) -> Serving:
    """Return the serving service.

    Raises:
        WrongState: ``NO_SERVING_TARGET`` when none is named.
    """
    if settings.serving_target is None:
        raise WrongState(
            "NO_SERVING_TARGET",
            "no serving service is named",
            hint="set MIEN_SERVING_TARGET to its host:port",
        )
    from mien.wire.channel import open_channel
    from mien.wire.serving_client import ServingClient

    return ServingClient(open_channel(settings.serving_target, settings))


@contextmanager
def open_serving(
    home: Path, project: Path, settings: Settings, *, wait_s: float = 60.0
) -> Iterator[LocalServing]:
    """Serve from a folder in this process, with Triton where it is chosen, until the block ends.

    Args:
        home: folder of the models that are served; one process at a time.
        project: folder of ``params.yaml`` and ``data/``, for the gate.
        settings: of the environment.
        wait_s: for Triton and the champion; 0 = they come when they come.

    Raises:
        WrongState: ``SERVING_RUNS``. NotFound: ``TRITON_MISSING``.
        Unavailable: ``TRITON_UNAVAILABLE``.
    """
    if settings.triton_rollout:
        with _on_cluster(home, project, settings) as serving:
            yield serving
        return
    from mien.adapters.serving.local import LocalServing
    from mien.adapters.serving.promotion import Promoter
    from mien.adapters.triton.client import TritonClient
    from mien.adapters.triton.onnx_host import OnnxHost
    from mien.adapters.triton.server import TritonHome, TritonServer

    repository = home / "repository"
    models = make_models(settings)
    gate, variant = _gate(home, project, settings)
    server: TritonServer | None = None
    host: OnnxHost | TritonClient
    with ExitStack() as stack:
        if settings.triton == "wheel":
            server = TritonServer(
                TritonHome(settings.triton_home),
                repository,
                grpc_port=settings.triton_port,
                metrics_port=settings.triton_metrics_port,
                log_file=home / "triton.log",
            )
            host = server.client
        elif settings.triton == "none":
            host = OnnxHost(repository, threads=settings.triton_instances)
        else:
            host = TritonClient(settings.triton)
        promoter = Promoter(
            home, models, host, gate=gate, variant=variant, spec=_host_spec(settings)
        )
        stack.enter_context(promoter.file.owned())
        serving = LocalServing(promoter, host, models, assets=settings.assets)
        if server is None:
            serving.recover()
        else:
            server.restore, server.canaries = serving.recover, promoter.canaries
            serving.watch(server.problem, server.look_now)
            stack.callback(server.stop)
            server.start(wait_s)
        yield serving


@contextmanager
def _on_cluster(home: Path, project: Path, settings: Settings) -> Iterator[LocalServing]:
    """Serve with the replicas of Triton on a cluster, until the block ends."""
    from mien.adapters.serving.cluster import ClusterPromoter
    from mien.adapters.serving.local import LocalServing
    from mien.adapters.serving.store import ModelStore
    from mien.adapters.triton.fleet import TritonFleet
    from mien.adapters.triton.rollout import TritonRollout

    models = make_models(settings)
    gate, variant = _gate(home, project, settings)
    fleet = TritonFleet(settings.triton)
    promoter = ClusterPromoter(
        home,
        models,
        fleet,
        TritonRollout(settings.triton_rollout),
        ModelStore(settings.triton_models),
        gate=gate,
        variant=variant,
        spec=_host_spec(settings),
    )
    with promoter.file.owned():
        serving = LocalServing(promoter, fleet, models, assets=settings.assets)
        serving.watch(promoter.problem, promoter.look_now)
        try:
            serving.recover()
            yield serving
        finally:
            promoter.stop()


def _host_spec(settings: Settings) -> HostSpec:
    from mien.adapters.triton.repository import HostSpec

    return HostSpec(
        backend=settings.triton_backend,
        instances=settings.triton_instances,
        max_queue=settings.triton_max_queue,
    )


def make_retraining(
    project: Path,
    settings: Settings,
    *,
    branch: str = "",
    onto: str = "",
    remote: str = "origin",
    home: Path,
    champion: Callable[[str], Promotion],
    comment: Callable[[Doors, str, str], str],
    progress: OnProgress = no_progress,
    cancelled: Cancelled = never_cancelled,
) -> Doors:
    """Open what a retraining of a project needs.

    Args:
        project: folder in a git working copy, with ``dvc.yaml`` and ``params.yaml``.
        settings: of the environment.
        branch: that is retrained; "" = the one that is checked out.
        onto: branch that the result goes to; "" = ``retrain/<branch>``.
        remote: name of the git remote.
        home: folder of the models that are served; keeps each use of the gate.
        champion: promotes a model through the gate of serving.
        comment: puts a report on the pull request of this name.
        progress: told about every step.
        cancelled: asked between steps.

    Raises:
        NotFound: ``NO_REMOTE``, ``NO_DVC``. WrongState: ``NO_GIT``. Invalid: ``NO_BRANCH``.
    """
    from mien.adapters.dvc.remote import DvcRemote
    from mien.adapters.dvc.repro import repro
    from mien.adapters.mlflow.links import runs_of
    from mien.adapters.retrain.branch import RetrainBranch
    from mien.params.project import load_params
    from mien.stages.retrain_doors import Doors
    from mien.stages.retrain_given import fetch_given
    from mien.stages.retrain_report import RunLink

    params = project / "params.yaml"
    env = {  # as this process has them: stages may be run elsewhere
        "MIEN_TRACKING_URI": settings.tracking_uri,
        "MIEN_CACHE": str(settings.cache),
        "MIEN_REGISTER_MODELS": "false",
    }

    def context() -> Context:
        made = make_context(load_params(params), progress=progress, cancelled=cancelled)
        return replace(made, models=make_models(settings))

    doors: Doors = Doors(
        root=project,
        folder=project / RETRAININGS,
        branch=RetrainBranch(project, branch=branch, onto=onto, remote=remote),
        data=DvcRemote(project),
        given=lambda: list(
            fetch_given(project, load_params(params), make_registry(project, settings))
        ),
        repro=lambda noted: repro(
            project, env, noted, grace_s=settings.grace_s, cancelled=cancelled
        ),
        context=context,
        gate=lambda: _gate(home, project, settings),
        runs=lambda experiment, trial: [
            RunLink(*run) for run in runs_of(settings.tracking_uri, experiment, trial)
        ],
        champion=champion,
        comment=lambda asked, text: comment(doors, asked, text),
        cancelled=cancelled,
    )
    return doors


def make_models(settings: Settings) -> Models | None:
    """Return the model registry; None where nothing is tracked."""
    if settings.tracking_uri == "none":
        return None
    from mien.adapters.mlflow.models import MlflowModels

    return MlflowModels(settings.tracking_uri)


def _gate(home: Path, project: Path, settings: Settings) -> tuple[Gate | None, Variant]:
    """The gate that a project's parameters ask for; None where there are none."""
    if not (project / "params.yaml").is_file():
        return None, "fp32"
    from mien.adapters.serving.gate import FaceGate
    from mien.params.project import load_params

    params = load_params(project / "params.yaml").gate
    if params.set is None:
        return None, params.variant
    version = project / "data" / "preprocess" / params.set
    source = ""
    if settings.gate_sets:
        version, source = home / "gate" / params.set, f"{settings.gate_sets}/{params.set}"
    return FaceGate(version, params, home, source), params.variant


def _generation(settings: Settings) -> Generation | None:
    if settings.generation_target is None:
        return None
    from mien.wire.channel import open_channel
    from mien.wire.generation_client import GenerationClient

    return GenerationClient(open_channel(settings.generation_target, settings))


def _executor(settings: Settings, cancelled: Cancelled) -> Executor:
    logs = settings.cache / "logs"
    if settings.training_target is not None:
        from mien.adapters.executors.service import ServiceExecutor
        from mien.wire.channel import open_channel
        from mien.wire.training_client import TrainingClient

        training = TrainingClient(open_channel(settings.training_target, settings))
        service = ServiceExecutor(training, slots=settings.workers, grace_s=settings.grace_s)
        return _carrying(service, settings)
    if (cluster := make_cluster(settings)) is not None:
        return _carrying(cluster, settings)
    from mien.adapters.executors.local import InlineExecutor, LocalExecutor

    if settings.executor == "inline":
        return InlineExecutor(partial(trial_here, cancelled=cancelled), logs, settings.retries)
    return LocalExecutor(
        slots=settings.workers,
        command=(sys.executable, "-m", "mien"),
        log_dir=logs,
        retries=settings.retries,
        mode="process" if settings.executor == "process" else "persistent",
        grace_s=settings.grace_s,
    )


def make_cluster(settings: Settings) -> KubernetesJobExecutor | None:
    """Return what runs tasks as Jobs of the cluster; None where work stays on this machine.

    Raises:
        WrongState: ``NO_PROFILE``. NotFound: ``PROFILE_MISSING``. Invalid: ``PROFILE``.
    """
    if settings.executor != "kubernetes":
        return None
    from mien.adapters.kubernetes.executor import KubernetesJobExecutor
    from mien.adapters.kubernetes.profile import profile_of

    return KubernetesJobExecutor(profile_of(settings))


def _carrying(executor: Executor, settings: Settings) -> Executor:
    """Have trials carried to where others find them, if that is not where they lie."""
    if not settings.work_url:
        return executor
    from mien.adapters.executors.carried_tasks import CarryingExecutor

    return CarryingExecutor(executor, settings.work_url)


def trial_here(argv: Sequence[str], *, cancelled: Cancelled = never_cancelled) -> int:
    """Run a trial in this process; the executor hears of its end by exit code, as always.

    Args:
        argv: ``("trial", "<plan>")``.
        cancelled: asked before every training step; True saves the state and ends the trial.
    """
    from mien.stages.trial import run

    try:
        run(Path(argv[1]), cancelled=cancelled)
    except MienError as error:
        sys.stderr.write(f"mien: error: {error}\n")  # the executor keeps it as the trial's log
        return error.exit_code
    except Interrupted:
        return EXIT_INTERRUPTED
    return EXIT_DONE

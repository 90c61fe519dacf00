"""The verbs on generators."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.session import hooks, project
from mien.core.overrides import read_pairs

Name = Annotated[str | None, typer.Argument(help="Only this one; all of the parameters' without.")]


def train_generator(
    ctx: typer.Context,
    generator: Name = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "--engine",
            help="cgan, acgan, stylegan, stargan …: train what the parameters do not name.",
        ),
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="Ingested database to learn from, with --preset.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new generator.")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of its faces.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Override of the preset.", metavar="KEY=VALUE"),
    ] = None,
    carried: Annotated[
        str | None,
        typer.Option(help="Train what the training service put there (a URI).", hidden=True),
    ] = None,
) -> None:
    """Train generators of faces, or put ready weights in place.

    A training that was stopped goes on when it is started again. With --preset, --database and
    --name it trains one that params.yaml does not name, on a database of this project.
    """
    from mien.params.generators import FacesParams, TrainGeneratorParams
    from mien.stages.pipeline import run_stage

    if carried is not None:
        raise typer.Exit(_train_carried(carried))
    if preset is None and (database or name or option or size_px):
        raise typer.BadParameter("--database, --name, --size-px and --option go with --preset")
    if preset is not None and (database is None or name is None or generator is not None):
        raise typer.BadParameter("--preset needs --database and --name, and no GENERATOR")
    given: dict[str, TrainGeneratorParams] = {}
    if preset is not None and database is not None and name is not None:
        given[name] = TrainGeneratorParams(
            preset=preset,
            faces=FacesParams(database=database),
            size_px=size_px,
            params=read_pairs(option or (), "--option"),
        )
        generator = name
    with project(ctx) as project_context:
        known = {**project_context.params.train_generator, **given}
        params = project_context.params.model_copy(update={"train_generator": known})
        context = replace(project_context, params=params)
        run_stage(context, "train_generator", **_named(generator))
        for each in [generator] if generator else known:
            typer.echo(f"{each}: {_where(context.folder('train_generator', each))}")


def _train_carried(there: str) -> int:
    """Train a generator whose project lies elsewhere; returns the exit code."""
    from mien.adapters.executors.carried_project import run_carried
    from mien.cli.main import run
    from mien.settings import load_settings

    return run_carried(there, load_settings(Path.cwd()).cache, run)


def shard(
    ctx: typer.Context,
    plan: Annotated[str, typer.Argument(help="plan.json of a set of faces: a path or a URI.")],
    index: Annotated[int, typer.Argument(help="Number of the shard, from 0.", min=0)],
) -> None:
    """Make one shard of planned faces, as the workers of a generation job do."""
    from mien.adapters.executors.remote_shard import run_shard
    from mien.cli.progress import kept
    from mien.core.shards import progress_file
    from mien.logs import canonical_line
    from mien.settings import load_settings
    from mien.stages import shard as stage

    settings = load_settings(Path.cwd())
    with hooks(ctx) as given, canonical_line("shard", plan=plan, index=index):

        def run_here(at: Path) -> None:
            told = progress_file(at, index)
            told.parent.mkdir(parents=True, exist_ok=True)
            progress = kept(given.progress, told)
            stage.run(
                at, index, assets=settings.assets, progress=progress, cancelled=given.cancelled
            )

        run_shard(plan, index, settings.cache, run_here, given.cancelled)


def judge_generator(ctx: typer.Context, pool: Name = None) -> None:
    """Judge pools of faces by an independent classifier: one page each under report/generators."""
    from mien.stages.pipeline import run_stage

    with project(ctx) as context:
        run_stage(context, "judge_generator", **_named(pool))


def _named(name: str | None) -> dict[str, Any]:
    return {} if name is None else {"name": name}


def _where(folder: Path) -> str:
    sheets = sorted((folder / "sheets").glob("*.png"))
    return f"{folder}{f'; last sheet {sheets[-1].name}' if sheets else ''}"

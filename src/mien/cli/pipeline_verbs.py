"""The verbs of the main path; each is the stage of the same name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.progress import clock_of
from mien.cli.session import hooks, options_of, project

if TYPE_CHECKING:
    from mien.stages.context import Context
    from mien.stages.sweep_cost import Estimate

Name = Annotated[str | None, typer.Argument(help="Only this one; all of the parameters' without.")]


def ingest(
    ctx: typer.Context,
    database: Name = None,
    reader: Annotated[
        str | None, typer.Option(help="Reader, to ingest what the parameters do not name.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder or file to read; none for rendered databases.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new dataset version.")] = None,
    origin: Annotated[
        str | None, typer.Option(help="synthetic to make a pool; else what the faces say.")
    ] = None,
    reader_param: Annotated[
        list[str] | None,
        typer.Option(help="Parameter of the reader; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Read databases and freeze them as dataset versions.

    With --reader and --name no parameter file is needed: it reads --root, a folder of your own,
    also a synthetic one, which then is a pool that the sweep can draw from.
    """
    if reader is None:
        if any(given is not None for given in (root, name, origin, reader_param)):
            raise typer.BadParameter("--root, --name, --origin and --reader-param go with --reader")
        _stage(ctx, "ingest", name=database)
        return
    if name is None or database is not None:
        raise typer.BadParameter("--reader needs --name, and no DATABASE")
    if origin not in (None, "real", "synthetic"):
        raise typer.BadParameter(f"--origin {origin!r} is neither real nor synthetic")
    from mien.core.overrides import read_pairs
    from mien.params.data import DatabaseParams
    from mien.params.section import NAME
    from mien.settings import load_settings
    from mien.stages.ingest import Door, ingest_one

    if not NAME.fullmatch(name):
        raise typer.BadParameter(f"--name {name!r} is not lower case letters, digits and _")
    params = read_pairs(reader_param or (), "--reader-param")
    database_params = DatabaseParams.model_validate(
        {"reader": reader, "root": root, "origin": origin, "params": params}
    )
    here = Path.cwd()
    settings = load_settings(here)
    with hooks(ctx) as given:
        info = ingest_one(
            Door(
                data=(options_of(ctx).root or here).resolve() / "data",
                base=here,
                assets=settings.assets,
                workers=settings.workers,
                progress=given.progress,
            ),
            name,
            database_params,
        )
    typer.echo(
        f"{name}: {info.rows} images, {origin or 'origin as stated'}, version {info.digest[:16]}"
    )


def split(ctx: typer.Context) -> None:
    """Deal the subjects to train, validation and test."""
    _stage(ctx, "split")


def synthesise(ctx: typer.Context, pool: Name = None) -> None:
    """Make the pools of synthetic faces."""
    _stage(ctx, "synthesise", name=pool)


def preprocess(ctx: typer.Context, name: Name = None) -> None:
    """Find, align, crop and resize the faces of every set."""
    _stage(ctx, "preprocess", name=name)


def sweep(
    ctx: typer.Context,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would run and what it costs; run nothing.")
    ] = False,
    write_plans: Annotated[
        Path | None,
        typer.Option(
            help="Write all plans, name them in this JSON file; run nothing.", hidden=True
        ),
    ] = None,
) -> None:
    """Train and judge a classifier for every arm and seed.

    Finished trials are found in the cache and not run again. --plan tells the work, in the time
    of one worker, from trials that finished here before, or from a few steps taken now.
    """
    from mien.stages import sweep as stage

    if write_plans is not None:
        with project(ctx) as context:
            stage.write_plans(context, write_plans)
        return
    if not plan:
        _stage(ctx, "sweep")
        return
    with project(ctx) as context:
        estimate = stage.run(context, plan_only=True)
    _plan(estimate)


def _plan(estimate: Estimate) -> None:
    """Show what a sweep would cost, protocol by protocol."""
    typer.echo(f"{'protocol':<9} {'trials':>6} {'done':>5} {'kimg':>9} {'work':>9}")
    for cost in estimate.protocols:
        work = clock_of(cost.work_s or 0.0)
        typer.echo(
            f"{cost.protocol:<9} {cost.trials:>6} {cost.cached:>5} {cost.kimg:>9,.1f} {work:>9}"
            + (f"  {cost.source}" if cost.source else "")
        )
    at_most = (
        "at most " if any(c.protocol == "paper" and c.kimg for c in estimate.protocols) else ""
    )
    typer.echo(
        f"{estimate.trials} trials, {estimate.cached} of them done already; to run: "
        f"{at_most}{estimate.kimg:,.1f} thousand images to train on, {at_most or 'about '}"
        f"{clock_of(estimate.wall_s or 0.0)} with {estimate.workers} at once, "
        f"about {estimate.disk_mb:g} MB of disk"
    )
    if at_most:
        typer.echo(
            "paper stops early where validation no longer improves: its figures are the most"
        )


def trial(
    ctx: typer.Context,
    plan: Annotated[str, typer.Argument(help="plan.json of the trial: a path or a URI.")],
) -> None:
    """Run one planned trial, as the sweep's workers do."""
    from mien.adapters.executors.artefacts import is_remote
    from mien.adapters.executors.remote_trial import PROGRESS, run_trial
    from mien.cli.progress import kept
    from mien.logs import canonical_line
    from mien.settings import load_settings
    from mien.stages import trial as stage

    with hooks(ctx) as given, canonical_line("trial", plan=plan):

        def run_here(at: Path) -> None:
            told = at.with_name(PROGRESS) if is_remote(plan) else None
            stage.run(at, progress=kept(given.progress, told), cancelled=given.cancelled)

        run_trial(plan, load_settings(Path.cwd()).cache, run_here, given.cancelled)


def evaluate(ctx: typer.Context) -> None:
    """Judge all trials: accuracy, F1, calibration, confusion."""
    _stage(ctx, "evaluate")


def decide(ctx: typer.Context) -> None:
    """Say which ratio helps, or that none does.

    Or how many more subjects it would take to know.
    """
    _stage(ctx, "decide")


def report(ctx: typer.Context) -> None:
    """Write report/index.html, one self-contained file, and say the verdict."""
    _stage(ctx, "report", say=_summary)


def run_pipeline(ctx: typer.Context) -> None:
    """Run the whole pipeline; unchanged stages are skipped."""
    from mien.stages.pipeline import run_all

    with project(ctx) as context:
        run_all(context)
        _summary(context)


def _summary(context: Context) -> None:
    """Say the verdict, where the time went, and where the report lies."""
    from mien.stages.pipeline import times

    table = times(context)
    typer.echo(f"{'where the time went':<28} {'seconds':>9}")
    for stage, seconds in table.items():
        typer.echo(f"{stage:<28} {seconds:>9.1f}")
    typer.echo(f"{'all':<28} {sum(table.values()):>9.1f}")
    for protocol, decided in context.read_json("decide", "decision.json")["protocols"].items():
        typer.echo(f"\n{protocol}: {decided['sentence']}")
    typer.echo(f"\nreport: {context.root / 'report' / 'index.html'}")


def _stage(
    ctx: typer.Context,
    verb: str,
    *,
    say: Callable[[Context], None] | None = None,
    **arguments: Any,
) -> None:
    from mien.stages.pipeline import run_stage

    given = {key: value for key, value in arguments.items() if value is not None}
    with project(ctx) as context:
        run_stage(context, verb, **given)
        if say is not None:
            say(context)

"""The command line: options before the verb, and the verbs.

Nothing heavy is imported before a verb runs: ``mien --help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import mien
from mien.cli.data_verbs import pull, push, remote
from mien.cli.drift_verbs import drift
from mien.cli.generator_verbs import judge_generator, shard, train_generator
from mien.cli.machine_verbs import assets, doctor, params, ui, worker
from mien.cli.model_verbs import export, recognise, train, verify
from mien.cli.pipeline_verbs import (
    decide,
    evaluate,
    ingest,
    preprocess,
    report,
    run_pipeline,
    split,
    sweep,
    synthesise,
    trial,
)
from mien.cli.registry_verbs import registry
from mien.cli.retrain_verb import retrain
from mien.cli.serving_verbs import promote, register, rollback
from mien.cli.session import Options

app = typer.Typer(
    name="mien",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _mark_done(_result: object, *, done: Path | None = None, **_options: object) -> None:
    """Leave the marker that whoever started this verb looks for."""
    if done is not None:
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {mien.__version__}")
        raise typer.Exit


@app.callback(result_callback=_mark_done)
def options(
    ctx: typer.Context,
    params_file: Annotated[
        Path, typer.Option("--params", help="Parameter file of the project.", metavar="FILE")
    ] = Path("params.yaml"),
    root: Annotated[
        Path | None, typer.Option(help="Folder of data/ and report/; the current one.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a parameter for this command.", metavar="KEY=VALUE"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Debug logs and tracebacks.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only warnings and results.")
    ] = False,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project", "-C", exists=True, file_okay=False, help="Work as if started there."
        ),
    ] = None,
    done: Annotated[  # noqa: ARG001  it is for the end
        Path | None,
        typer.Option("--done", help="Leave an empty file there once the verb has succeeded."),
    ] = None,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """How much synthetic face data to add, whether the gain is real, and whether it can ship.

    The main path: ingest, split, train-generator, synthesise, judge-generator, preprocess, sweep,
    evaluate, decide, report.
    `mien run` runs all of it; `dvc repro` does the same and keeps track of it.

    A project is a folder with params.yaml; what is made goes into its data/ and report/. The
    options below stand before the verb: mien --set sweep.seeds=5 --root elsewhere sweep --plan
    """
    if project is not None:
        os.chdir(project)
    ctx.obj = Options(params_file, root, tuple(overrides or ()), debug, quiet)


app.command("run")(run_pipeline)
app.command()(ingest)
app.command()(split)
app.command()(train_generator)
app.command()(synthesise)
app.command()(judge_generator)
app.command()(preprocess)
app.command()(sweep)
app.command()(trial)
app.command()(shard)
app.command()(evaluate)
app.command()(decide)
app.command()(report)
app.command()(train)
app.command()(recognise)
app.command()(register)
app.command()(promote)
app.command()(rollback)
app.command()(drift)
app.command()(remote)
app.command()(push)
app.command()(pull)
app.command()(retrain)
app.command()(export)
app.command()(verify)
app.command()(doctor)
app.command()(ui)
app.add_typer(assets, name="assets")
app.add_typer(params, name="params")
app.add_typer(registry, name="registry")
app.command("worker", hidden=True)(worker)

"""Verbs about this machine: doctor, assets, the tracking UI, and the hidden worker."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.session import hooks, options_of

assets = typer.Typer(
    help="Open assets: a 3D head, a face detector, photographs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
params = typer.Typer(help="The parameter file.", no_args_is_help=True, rich_markup_mode=None)


@params.command("check")
def check(ctx: typer.Context) -> None:
    """Validate the parameter file; names every key at fault."""
    from mien.params.project import load_params

    options = options_of(ctx)
    found = load_params(options.params, options.overrides)
    typer.echo(
        f"{options.params}: good; experiment {found.experiment!r}, ratios {found.sweep.ratios}"
    )


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what works on this machine and what is missing."""
    from mien.cli.doctor import examine, print_checks

    checks = examine(Path.cwd())
    print_checks(checks, as_json=as_json)
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


@assets.command("list")
def list_assets() -> None:
    """Show the assets, their licences, and which are on this machine."""
    from mien.cli.asset_pages import print_list
    from mien.settings import load_settings

    print_list(load_settings(Path.cwd()).assets)


@assets.command()
def pull(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Which; all without.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licences shown.")] = False,
) -> None:
    """Download, check and convert assets; their terms come first."""
    from mien.cli.asset_pages import accept, chosen
    from mien.settings import load_settings

    settings = load_settings(Path.cwd())
    wanted = chosen(names or [])
    with hooks(ctx) as given:
        for asset in wanted:
            accept(asset, yes=yes)
        from mien.adapters.assets.assets import pull as pull_one

        for asset in wanted:
            folder = pull_one(
                asset,
                settings.assets_home,
                mirror=settings.asset_mirror,
                progress=given.progress,
                cancelled=given.cancelled,
            )
            typer.echo(f"{asset.name}: {folder}")


def ui(
    port: Annotated[int, typer.Option(help="Loopback port; 0 picks a free one.")] = 5000,
) -> None:
    """Show the tracked runs in a browser."""
    from mien.adapters.mlflow.server import serve
    from mien.settings import load_settings

    settings = load_settings(Path.cwd())
    with serve(settings.tracking_uri, port=port) as server:
        typer.echo(f"http://127.0.0.1:{server.port}  (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            server.wait()


def worker(
    grace_s: Annotated[float, typer.Option(help="Seconds for a checkpoint.")] = 60.0,
) -> None:
    """Run verbs told as JSON lines on standard input; the executor starts these."""
    from mien.cli.main import run
    from mien.cli.signals import STOP
    from mien.cli.worker import serve

    raise typer.Exit(serve(run, cancelled=STOP.cancelled, grace_s=grace_s))

"""Verbs on registered models: register, promote, rollback, in this process or over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.session import hooks, project

if TYPE_CHECKING:
    from mien.core.ports import Serving
    from mien.core.serving import Promotion

HOME = Path("server") / "serving"  # where the serving service of this project keeps its models


def register(ctx: typer.Context) -> None:
    """Register the challenger that `mien decide` named, ready to be served.

    `mien decide` does so itself; this is for a verdict that was found in the cache, or taken from
    another machine.
    """
    from mien.logs import canonical_line
    from mien.stages import register as stage

    with project(ctx) as context, canonical_line("register"):
        info = stage.run(context)
    typer.echo(f"{info.name} ({', '.join(info.aliases)})")
    for name, value in sorted(info.figures.items()):
        typer.echo(f"  {name:<16} {value:.4f}")


def promote(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(help="expression/<version> or expression@<alias>.")
    ] = "expression@challenger",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the gate; promote nothing.")
    ] = False,
    home: Annotated[Path, typer.Option(help="Folder of the models that are served.")] = HOME,
) -> None:
    """Make a registered model the champion, through the gate.

    Any failure leaves the old champion serving. With MIEN_SERVING_TARGET the serving service does
    it; without, this process does, for the next `make serve`.
    """
    with hooks(ctx), serving(home) as found:
        made = found.promote(model, dry_run=dry_run)
    _tell(made)
    if dry_run and not all(check.passed for check in made.checks):
        raise typer.Exit(2)


def rollback(
    ctx: typer.Context,
    home: Annotated[Path, typer.Option(help="Folder of the models that are served.")] = HOME,
) -> None:
    """Make the champion before this one champion again."""
    with hooks(ctx), serving(home) as found:
        _tell(found.rollback())


@contextmanager
def serving(home: Path) -> Iterator[Serving]:
    """The service where one is named, else this process."""
    from mien.compose import make_serving, open_serving
    from mien.settings import load_settings

    here = Path.cwd()
    settings = load_settings(here)
    if settings.serving_target is not None:
        yield make_serving(settings)
        return
    from mien.adapters.triton.server import TritonHome

    free: dict[str, object] = {"triton_port": 0, "triton_metrics_port": 0}
    if settings.triton == "wheel" and TritonHome(settings.triton_home).missing:
        free["triton"] = "none"  # the model's own runtime asks it the golden faces then
        typer.echo("Triton is not installed here (make triton); ONNX Runtime checks the model")
    with open_serving(home.resolve(), here, settings.model_copy(update=free)) as serving:
        yield serving


def _tell(made: Promotion) -> None:
    for check in made.checks:
        typer.echo(f"{'passed' if check.passed else 'FAILED'}  {check.check:<9} {check.finding}")
    champion = made.champion.name if made.champion else "none"
    previous = f", before it {made.previous.name}" if made.previous else ""
    what = "promoted" if made.promoted else "nothing was changed"
    typer.echo(f"{what}: the champion is {champion}{previous} ({made.took_s:.1f} s)")

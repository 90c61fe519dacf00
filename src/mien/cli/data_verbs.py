"""Verbs that move a project's data: to its remote, from it, and where that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def remote(
    url: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix.")],
) -> None:
    """Keep this project's data there; tries to write first."""
    from mien.adapters.dvc.remote import set_remote

    typer.echo(f"remote: {set_remote(Path.cwd(), url)}")


def push() -> None:
    """Push the data of dvc.lock, read all of it back, and mend what is wrong on the remote."""
    from mien.adapters.dvc.remote import DvcRemote

    found = DvcRemote(Path.cwd())
    done = found.push()
    for path in done.repaired:
        typer.echo(f"was missing or wrong on the remote, is right now: {path}")
    typer.echo(f"{found.url}: {done.objects} objects, read back and right")


def pull(
    check: Annotated[
        bool, typer.Option("--check", help="Only read the whole remote and compare.")
    ] = False,
) -> None:
    """Fetch the data of dvc.lock, every object compared with its name before it is used."""
    from mien.adapters.dvc.remote import DvcRemote

    found = DvcRemote(Path.cwd())
    done = found.check() if check else found.pull()
    typer.echo(f"{found.url}: {done.objects} objects right, {done.moved} fetched")

"""What ``mien assets`` shows and asks."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import typer

from mien.adapters.assets.table import ASSETS, Asset, asset_named
from mien.core.errors import Forbidden


def print_list(home: Path | None) -> None:
    """Show every asset, whether it is here, and its terms."""
    typer.echo(f"folder of assets: {home or 'none yet (set MIEN_ASSETS, or pull)'}")
    for asset in ASSETS:
        state = "present" if asset.present(home) else f"missing; mien assets pull {asset.name}"
        typer.echo(f"\n{asset.name} ({state})")
        typer.echo(_terms(asset))


def chosen(names: Sequence[str]) -> list[Asset]:
    """Return the assets of these names, all without.

    Raises:
        NotFound: ``UNKNOWN_ASSET``.
    """
    return [asset_named(n) for n in names] if names else list(ASSETS)


def accept(asset: Asset, *, yes: bool) -> None:
    """Show the terms and have them accepted.

    Raises:
        Forbidden: ``LICENCE_NOT_ACCEPTED``.
    """
    typer.echo(f"{asset.name}: about {asset.size_mb} MB to download")
    typer.echo(_terms(asset))
    if yes:
        return
    if not sys.stdin.isatty() or not typer.confirm("Accept these terms?"):
        raise Forbidden(
            "LICENCE_NOT_ACCEPTED",
            f"the terms of {asset.name!r} were not accepted; nothing was downloaded",
            hint="give --yes to accept them",
        )


def _terms(asset: Asset) -> str:
    lines = [
        asset.what,
        f"from {asset.repository} at {asset.commit[:12]}, licence {asset.licence}",
        asset.terms,
    ]
    wrapped = [w for line in lines for w in textwrap.wrap(line, 76)]
    return textwrap.indent("\n".join(wrapped), "  ")

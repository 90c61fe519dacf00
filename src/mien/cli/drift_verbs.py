"""`mien drift`: whether the faces of today look to the champion as those it was made with did."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.serving_verbs import HOME
from mien.cli.session import Options, hooks, options_of

if TYPE_CHECKING:
    from mien.adapters.serving.drift_book import DriftBook
    from mien.evaluation.drift import Drift

EXIT_DRIFT, EXIT_NOT_ENOUGH = 4, 5
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def drift(
    ctx: typer.Context,
    since: Annotated[
        str, typer.Option(help="Windows from then on: 7d, 12h, 2026-11-20, 2026-11-20T08:00Z.")
    ] = "7d",
    until: Annotated[str, typer.Option(help="Windows that began before then.")] = "0s",
    model: Annotated[
        str, typer.Option(help="Hosted model, as expression-7; the last one that was used without.")
    ] = "",
    home: Annotated[
        list[Path] | None,
        typer.Option(help=f"Folder of the serving service, {HOME}; once for each replica."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="How often drift is said where there is none, at most.")
    ] = 0.01,
    faces_per_person: Annotated[
        float, typer.Option(min=1.0, help="How often the same person is seen, where known.")
    ] = 1.0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Run `mien retrain` where there is drift.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare what the serving service saw with the training version of its model.

    The service keeps sums for that where MIEN_SERVER_DRIFT=true. Exit code 0: no drift; 4: drift;
    5: not enough data to say.
    """
    from mien.adapters.serving.drift_book import DriftBook, common_reference
    from mien.evaluation.drift import compare
    from mien.evaluation.drift_window import together

    with hooks(ctx):
        books = [DriftBook(each.resolve()) for each in home or [HOME]]
        begin, end = moment(since), moment(until)
        name = model or _last(books)
        reference = common_reference(books, name)
        blocks, found = together([w for b in books for w in b.windows(name, begin, end)])
        said = compare(reference, blocks, found, alpha=alpha, faces_per_person=faces_per_person)
    if as_json:
        typer.echo(json.dumps({"model": name, "since": begin, "until": end, **said.to_json()}))
    else:
        _tell(name, said)
    if said.verdict == "not_enough_data":
        raise typer.Exit(EXIT_NOT_ENOUGH)
    if said.verdict == "drift":
        raise typer.Exit(_retrain(options_of(ctx)) if retrain else EXIT_DRIFT)


def moment(text: str) -> float:
    """Read a moment, as seconds since 1970: so long ago (``7d``), or a date in UTC.

    Raises:
        Invalid: ``MOMENT``.
    """
    from mien.core.errors import Invalid

    try:
        if text[-1:] in UNITS and text[:-1].replace(".", "", 1).isdecimal():
            return time.time() - timedelta(**{UNITS[text[-1]]: float(text[:-1])}).total_seconds()
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Invalid(
            "MOMENT",
            f"{text!r} is no moment",
            hint="give 7d, 12h, 30m, or a date as 2026-11-20 or 2026-11-20T08:00Z",
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _last(books: Sequence[DriftBook]) -> str:
    from mien.core.errors import NotFound

    names = [name for book in books for name in book.models()[-1:]]
    if not names:
        raise NotFound(
            "NO_DRIFT_KEPT",
            f"nothing was kept of what was served: {books[0].folder} does not exist",
            hint="start serving with MIEN_SERVER_DRIFT=true; --home names its folder",
        )
    return names[0]


def _tell(name: str, said: Drift) -> None:
    typer.echo(
        f"{name}: {said.faces} faces on {said.pictures} pictures, worth {said.effective} "
        f"independent ones; {said.faceless:.0%} of the pictures show no face"
    )
    if said.shifts:
        typer.echo(f"  {'':<12} {'distance':>9} {'chance':>9} {'p at most':>9} {'PSI':>7}")
    for shift in said.shifts:
        psi = "" if shift.stability is None else f"{shift.stability:7.3f}"
        mark = "  drift" if shift.drifted else ""
        typer.echo(
            f"  {shift.what:<12} {shift.distance:9.4f} {shift.limit:9.4f} "
            f"{shift.p_at_most:9.3g} {psi:>7}{mark}"
        )
    typer.echo(f"  {'':<12} {'trained':>9} {'seen':>9}")
    for label, (before, after) in said.classes.items():
        typer.echo(f"  {label:<12} {before:9.1%} {after:9.1%}")
    verdict = said.verdict.replace("_", " ")
    typer.echo(f"{verdict}: {said.why} (false alarms: {said.alpha:g})")


def _retrain(options: Options) -> int:
    """Run the verb as somebody at the terminal would; returns its exit code."""
    given = [f"--set={each}" for each in options.overrides]
    command = [sys.executable, "-m", "mien", f"--params={options.params}", *given, "retrain"]
    return subprocess.run(command, check=False).returncode

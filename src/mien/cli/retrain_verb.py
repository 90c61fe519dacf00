"""The verb ``retrain``: all that a runner, or a person, does to retrain a branch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.serving_verbs import HOME, serving
from mien.cli.session import hooks, options_of
from mien.core.errors import EXIT_REFUSED, Invalid, Unauthenticated, Unavailable, WrongState

if TYPE_CHECKING:
    from mien.core.serving import Promotion
    from mien.stages.retrain_doors import Doors, Outcome


class Alias(StrEnum):
    """What is moved in the end."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"


def retrain(
    ctx: typer.Context,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a parameter, for good; may be repeated.",
            metavar="KEY=VALUE",
            envvar="RETRAIN_SET",
        ),
    ] = None,
    ratio: Annotated[
        list[int] | None,
        typer.Option(help="Try this ratio, and no other; may be repeated.", envvar="RETRAIN_RATIO"),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="Read a database from this version of the registry; may be repeated.",
            metavar="DATABASE=REFERENCE",
            envvar="RETRAIN_DATASET",
        ),
    ] = None,
    branch: Annotated[
        str, typer.Option(help="That is retrained; the one checked out.", envvar="RETRAIN_BRANCH")
    ] = "",
    onto: Annotated[str, typer.Option(help="Where to commit; retrain/<branch>.")] = "",
    git_remote: Annotated[str, typer.Option(help="Where that branch is pushed to.")] = "origin",
    promote: Annotated[
        Alias, typer.Option(help="champion: through the gate of serving as well.")
    ] = Alias.CHALLENGER,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another retraining here.", min=0)
    ] = 0.0,
    pull_request: Annotated[
        str,
        typer.Option(
            "--pr",
            help="Number of the pull request to report on; auto: that of the retraining branch.",
            envvar="RETRAIN_PR",
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(help="Token that may write there; without, GITHUB_TOKEN is read."),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(help="Append what came of it as key=value lines.", envvar="GITHUB_OUTPUT"),
    ] = None,
    home: Annotated[Path, typer.Option(help="Folder of the models that are served.")] = HOME,
) -> None:
    """Retrain this branch: data, pipeline, gate, push, commit, report, challenger.

    Started again after whatever ended it, the same request goes on where it was. Ends with 3 when
    the gate refuses the model: the report says why, and nothing was pushed or promoted.
    """
    from mien.compose import RETRAININGS, make_retraining
    from mien.logs import canonical_line
    from mien.settings import load_settings
    from mien.stages.retrain import run
    from mien.stages.retrain_change import Change, parse_datasets
    from mien.stages.retrain_doors import Request

    here = Path.cwd()
    settings = load_settings(here)
    if pull_request not in ("", "auto") and not pull_request.isdecimal():
        raise Invalid("PULL_REQUEST", f"--pr {pull_request!r} is no number", hint="or say: auto")

    def champion(model: str) -> Promotion:
        with serving(home) as found:
            return found.promote(model)

    def comment(doors: Doors, asked: str, text: str) -> str:
        return _comment(doors, asked, text, token_file)

    with hooks(ctx) as given, _alone(here / RETRAININGS, wait), canonical_line("retrain"):
        request = Request(
            Change(
                (*options_of(ctx).overrides, *(change or ())),
                tuple(ratio or ()),
                _resolved(here, parse_datasets(dataset or ())),
            ),
            promote.value,
            pull_request,
        )
        doors = make_retraining(
            here,
            settings,
            branch=branch,
            onto=onto,
            remote=git_remote,
            home=home.resolve(),
            champion=champion,
            comment=comment,
            progress=given.progress,
            cancelled=given.cancelled,
        )
        try:
            outcome = run(doors, request)
        except WrongState as error:
            if error.reason != "GATE_REFUSED":
                raise
            # The challenger is moved, and the gate of serving has said no to the champion.
            typer.echo(f"{error.message}; {error.hint}")
            raise typer.Exit(EXIT_REFUSED) from None
    _tell(outcome, outputs)
    if outcome.state == "refused":
        raise typer.Exit(EXIT_REFUSED)


def _resolved(project: Path, given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not given:
        return ()
    from mien.compose import make_registry
    from mien.settings import load_settings
    from mien.stages.retrain_given import resolved

    return resolved(make_registry(project, load_settings(project)), given)


@contextmanager
def _alone(folder: Path, wait_s: float) -> Iterator[None]:
    """Let one retraining work in a working copy; the lock ends with its process.

    Raises:
        Unavailable: ``RETRAINING_RUNS``.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    who = folder / "who"
    try:
        with FileLock(folder / "lock", timeout=wait_s, poll_interval=0.2):
            since = time.strftime("%H:%M:%S")
            who.write_text(f"process {os.getpid()} since {since}", encoding="utf-8")
            yield
    except Timeout:
        by = who.read_text(encoding="utf-8") if who.exists() else "another process"
        raise Unavailable(
            "RETRAINING_RUNS",
            f"a retraining is under way here ({by})",
            hint="this one did nothing; give --wait SECONDS to wait for that one",
        ) from None


def _comment(doors: Doors, asked: str, text: str, token_file: Path | None) -> str:
    """Put the report on a pull request of the repository that the runner works for."""
    from mien.adapters.retrain.pull_request import PullRequests

    repository = os.environ.get("GITHUB_REPOSITORY", "")
    if not repository:
        raise Invalid("NO_REPOSITORY", "GITHUB_REPOSITORY is not set", hint="set it to owner/name")
    token = _token(token_file)
    api = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    found = PullRequests(api, repository, token)
    branch = doors.branch
    title = f"Retraining of {branch.branch}"
    if asked == "auto" and not branch.tip():  # refused, and never pushed before: nothing to merge
        return ""
    number = found.of_branch(branch.onto, branch.branch, title) if asked == "auto" else int(asked)
    if not number:
        return ""
    return found.comment(number, f"mien-retrain {branch.onto}", _with_pictures(text, doors))


def _with_pictures(text: str, doors: Doors) -> str:
    """Point pictures at the commit that has them; a comment has no files."""
    from mien.stages.retrain_report import FOLDER

    server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    place = f"{server}/{os.environ['GITHUB_REPOSITORY']}/raw/{doors.branch.tip()}/{FOLDER}/"
    return text.replace("](curve", f"]({place}curve").replace("](confusion", f"]({place}confusion")


def _token(token_file: Path | None) -> str:
    try:
        token = (
            token_file.read_text(encoding="utf-8")
            if token_file is not None
            else os.environ.get("GITHUB_TOKEN", "")
        ).strip()
    except FileNotFoundError:
        token = ""
    if not token:
        raise Unauthenticated(
            "NO_TOKEN",
            "there is no token to comment with",
            hint="give --token-file, or leave --pr out: the report is a file as well",
        )
    return token


def _tell(outcome: Outcome, outputs: Path | None) -> None:
    if outcome.again:
        typer.echo("this request was completed before, and nothing has changed since")
    if outcome.state == "refused":
        typer.echo(f"refused by the gate: {outcome.why}")
    else:
        typer.echo(f"challenger: {outcome.model}, data and parameters: {outcome.commit}")
    typer.echo(f"report: {outcome.report}")
    if outputs is not None:
        with outputs.open("a", encoding="utf-8") as file:
            for name in ("state", "model", "commit", "report"):
                file.write(f"{name}={getattr(outcome, name)}\n")

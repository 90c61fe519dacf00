"""The verbs on a registry: the project's own in ``registry/``, or the service that is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.session import Hooks, hooks, options_of

if TYPE_CHECKING:
    from mien.core.catalogue import ItemFilter
    from mien.core.manifest import Provenance, VersionInfo
    from mien.core.ports import Registry
    from mien.core.sample import Item

registry = typer.Typer(
    help="Dataset versions by name: in registry/ here, or where MIEN_REGISTRY_TARGET says.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Reference = Annotated[str, typer.Argument(help="Name (its latest version), name@alias or digest.")]
_SHOWN_IDS = 10
_TOLD_ITEMS = 500


@registry.command("list")
def list_versions(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only versions of this name.")] = None,
) -> None:
    """List the versions, oldest first, and the aliases that point at them."""
    with _opened(ctx) as (found, _):
        marks: dict[tuple[str, str], list[str]] = {}
        for alias in found.aliases(name, limit=10_000):
            marks.setdefault((alias.name, alias.digest), []).append(f"@{alias.alias}")
        for entry in found.history(name, limit=1_000_000):
            info = entry.info
            aliases = " ".join(marks.get((info.name, info.digest), []))
            line = f"{entry.sequence:>5}  {entry.created:%Y-%m-%d %H:%M}  {info.digest[:16]}  "
            typer.echo(f"{line}{info.rows:>8}  {info.name} {aliases}".rstrip())


@registry.command()
def show(ctx: typer.Context, reference: Reference) -> None:
    """Say what is known about a version."""
    with _opened(ctx) as (found, _):
        entry = found.entry(reference)
        info = entry.info
        typer.echo(f"name      {info.name}")
        typer.echo(f"digest    {info.digest}")
        typer.echo(f"samples   {info.rows}")
        typer.echo(f"since     {entry.created:%Y-%m-%d %H:%M:%S} UTC, entry {entry.sequence}")
        made = info.provenance
        typer.echo(f"maker     {made.maker}; code {made.code or 'unknown'}, on {made.device}")
        for role, digest in sorted(made.parents.items()):
            typer.echo(f"from      {digest}  {role}")
        for source, licence in sorted(info.licences.items()):
            use = {True: "commercial use", False: "no commercial use", None: "use unknown"}
            typer.echo(f"licence   {source}: {licence.name}; {use[licence.commercial]}")


@registry.command()
def push(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of a dataset version.")],
    name: Annotated[str | None, typer.Option(help="Name to register it under; its own.")] = None,
) -> None:
    """Register a version; what the registry has already is not stored twice."""
    from mien.core.errors import Corrupt
    from mien.registry.read import open_version

    with _opened(ctx) as (found, given):
        version = open_version(folder)
        own = version.info
        info = found.create(
            name or own.name,
            _counted(given, version.items(), own.rows, "push"),
            provenance=own.provenance,
            licences=own.licences,
            keep_duplicates=True,
        )
        if info.digest != own.digest:
            raise Corrupt(
                "DIGEST_MISMATCH",
                f"{folder} is {own.digest}, the registry made {info.digest} of it",
                hint="run `mien verify` on the folder, and on both sides the same release",
            )
    typer.echo(f"{info.name}: {info.rows} samples, {info.digest}")


@registry.command()
def pull(
    ctx: typer.Context,
    reference: Reference,
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    expression: Annotated[
        list[str] | None, typer.Option(help="Only these labels; may be repeated.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Only these subjects; may be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Only these sources; may be repeated.")
    ] = None,
    origin: Annotated[str | None, typer.Option(help="real or synthetic.")] = None,
) -> None:
    """Write a version, or some of it, into a folder."""
    from mien.core.catalogue import EVERYTHING
    from mien.registry.write import write_version

    where = _filter(expression, subject, source, origin)
    with _opened(ctx) as (found, given):
        info = found.entry(reference).info  # the items below are this one's, whatever comes
        whole = where == EVERYTHING
        items = found.items(info.digest, None if whole else where)
        made = write_version(
            _counted(given, items, info.rows if whole else None, "pull"),
            out,
            name=info.name,
            provenance=info.provenance if whole else _part_of(info, where),
            licences=info.licences,
            duplicates="keep",
        )
    typer.echo(f"{made.name}: {made.rows} samples, {made.digest}: {out}")


@registry.command("diff")
def diff_versions(
    ctx: typer.Context,
    before: Annotated[str, typer.Argument(help="Reference of the older version.")],
    after: Annotated[str, typer.Argument(help="Reference of the newer version.")],
) -> None:
    """Compare two versions by class, subject, source and quality."""
    with _opened(ctx) as (found, _):
        diff = found.diff(before, after, max_ids=_SHOWN_IDS)
    counted = (
        ("added", diff.added, diff.added_ids),
        ("removed", diff.removed, diff.removed_ids),
        ("changed", diff.changed, diff.changed_ids),
    )
    for word, count, ids in counted:
        more = ", …" if count > len(ids) else ""
        typer.echo(f"{word:<10} {count:>8}  {', '.join(ids)}{more}".rstrip())
    for group in diff.groups:
        typer.echo(f"{group.by:<10} {group.before:>8} → {group.after:<8} {group.value or '(none)'}")


@registry.command()
def alias(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the versions.")],
    alias: Annotated[str, typer.Argument(help="Lower case: latest-good.")],
    reference: Annotated[
        str | None, typer.Argument(help="Where it shall point; with --delete none.")
    ] = None,
    expect: Annotated[
        str, typer.Option(help="Only if it points at this digest now; `none`: at nothing.")
    ] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Remove it.")] = False,
) -> None:
    """Point an alias at a version, or remove it."""
    if delete == (reference is not None) or (delete and expect):
        raise typer.BadParameter("give either REFERENCE or --delete; --expect goes with REFERENCE")
    with _opened(ctx) as (found, _):
        if reference is None:
            found.delete_alias(name, alias)
            typer.echo(f"{name}@{alias}: removed")
        else:
            moved = found.set_alias(name, alias, reference, expect=expect)
            typer.echo(f"{name}@{alias}: {moved.digest}")


@registry.command()
def lineage(
    ctx: typer.Context,
    reference: Reference,
    down: Annotated[bool, typer.Option("--down", help="What was made from it, instead.")] = False,
    depth: Annotated[int, typer.Option(min=0, help="Steps to follow; 0 = all.")] = 0,
) -> None:
    """Say what a version was made from."""
    with _opened(ctx) as (found, _):
        relations = found.lineage(reference, down=down, depth=depth)
    names = {digest: info.name for digest, info in relations.versions.items()}
    typer.echo(f"{relations.root[:16]}  {names.get(relations.root, '')}")
    for edge in relations.edges:
        here, there = (edge.parent, edge.child) if down else (edge.child, edge.parent)
        known = names.get(there, "not a version here")
        typer.echo(f"{here[:16]} {'→' if down else '←'} {there[:16]}  {edge.role}: {known}")


@registry.command()
def verify(ctx: typer.Context, reference: Reference) -> None:
    """Read every byte of a version where it lies, and compare."""
    from mien.core.errors import Corrupt

    with _opened(ctx) as (found, _):
        seen = found.verify(reference)
    for damage in seen.damage:
        typer.echo(damage, err=True)
    if seen.damage:
        raise Corrupt(
            "VERSION_DAMAGED",
            f"{reference}: {len(seen.damage)} things are damaged, {seen.items_right} items right",
            hint="restore it from a good copy, or push it again",
        )
    typer.echo(f"{reference}: {seen.items_right} images, every byte as written, {seen.digest}")


@contextmanager
def _opened(ctx: typer.Context) -> Iterator[tuple[Registry, Hooks]]:
    from mien.compose import make_registry
    from mien.settings import load_settings

    with hooks(ctx) as given:
        base = Path.cwd()
        yield make_registry((options_of(ctx).root or base).resolve(), load_settings(base)), given


def _counted(given: Hooks, items: Iterator[Item], total: int | None, stage: str) -> Iterator[Item]:
    """Tell how many items have passed; stop when asked to."""
    from mien.core.errors import Interrupted
    from mien.core.hooks import Progress

    for number, item in enumerate(items):
        if number % _TOLD_ITEMS == 0:
            given.progress(Progress(number, total, unit="images", stage=stage))
            if given.cancelled():
                raise Interrupted("stopped; nothing was registered or written")
        yield item


def _filter(
    expressions: list[str] | None,
    subjects: list[str] | None,
    sources: list[str] | None,
    origin: str | None,
) -> ItemFilter:
    from mien.core.catalogue import ItemFilter
    from mien.core.expression import EXPRESSIONS, Expression

    unknown = [e for e in expressions or () if e not in EXPRESSIONS]
    if unknown:
        raise typer.BadParameter(f"--expression {unknown[0]!r} is none of {', '.join(EXPRESSIONS)}")
    if origin not in (None, "real", "synthetic"):
        raise typer.BadParameter(f"--origin {origin!r} is neither real nor synthetic")
    return ItemFilter(
        expressions=frozenset(Expression(e) for e in expressions or ()),
        subjects=frozenset(subjects or ()),
        sources=frozenset(sources or ()),
        origin="real" if origin == "real" else "synthetic" if origin else None,
    )


def _part_of(info: VersionInfo, where: ItemFilter) -> Provenance:
    """Say that a version is part of another, and which."""
    import mien
    from mien.core.manifest import Provenance

    kept = {
        "expressions": sorted(where.expressions),
        "subjects": sorted(where.subjects),
        "sources": sorted(where.sources),
        "origin": where.origin,
    }
    return Provenance("registry:pull", kept, {"whole": info.digest}, code=mien.__version__)

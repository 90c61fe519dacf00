"""The leakage firewall: what the makers of a pool saw must not be judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mien.core.closure import Closure
from mien.core.errors import Invalid
from mien.params.generators import PoolParams
from mien.stages.context import Context


def generator_folder(context: Context, name: str) -> Path:
    """Say where a trained generator lies.

    Raises:
        WrongState: ``STAGE_MISSING`` when it was not trained.
    """
    return context.made("train_generator", name) / "generator"


def pool_closures(context: Context) -> dict[str, Closure]:
    """Return set name → what the generators and filters behind that pool saw.

    A pool that was ingested, not synthesised here, has no known closure; it is left out.
    """
    sets = context.params.preprocess.sets
    closures = {}
    for name in context.params.sweep.pools:
        stage, _, pool = sets[name].partition("/")
        if stage == "synthesise":
            closures[name] = pool_closure(context, context.params.synthesise[pool])
    return closures


def pool_closure(context: Context, pool: PoolParams) -> Closure:
    """Join what a pool's generators and its filter saw.

    Raises:
        WrongState: ``STAGE_MISSING``. Corrupt: ``GENERATOR_FILE``.
    """
    closure = Closure()
    if pool.generators:
        from mien.generators.trained import read_closure

        parts = [read_closure(generator_folder(context, name)) for name in pool.generators]
        closure = Closure.union(parts)
    if pool.filter is not None:
        from mien.stages.scorers import trained_scorer

        spec = context.params.preprocess.spec
        scorer = trained_scorer(context, pool.filter.scorer, context.params.classes, spec)
        closure = closure | scorer.closure
    return closure


def check_closure(
    maker: str,
    closure: Closure,
    judged: Mapping[str, tuple[frozenset[str], Mapping[str, str]]],
) -> None:
    """Refuse a maker that saw what is judged on.

    Args:
        maker: what to call it.
        closure: what it saw.
        judged: role → subjects, and original images' digests with their sample ids.

    Raises:
        Invalid: ``MAKER_SAW_JUDGED`` with the names.
    """
    for role, (subjects, images) in judged.items():
        people = sorted(closure.subjects & subjects)
        seen = sorted(images[d] for d in closure.digests & images.keys())
        if people or seen:
            raise Invalid(
                "MAKER_SAW_JUDGED",
                f"{maker} saw {_count(people, 'subjects')}{_count(seen, 'images', people)} that "
                f"are judged on in {role}: {', '.join([*people, *seen][:5])}"
                f"{' …' if len(people) + len(seen) > 5 else ''}",
                hint="train the generator, teacher or filter on other people, or judge on others",
            )


def _count(names: Sequence[str], what: str, before: Sequence[str] = ()) -> str:
    if not names:
        return ""
    return f"{' and ' if before else ''}{len(names)} {what}"

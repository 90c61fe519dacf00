"""What changed between two versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mien.core.catalogue import Diff, Group
from mien.core.manifest import Manifest
from mien.core.sample import Sample

Counts = Mapping[str, tuple[int, int]]
_BY: dict[str, Callable[[Sample], str]] = {
    "expression": lambda s: s.expression or "",
    "subject": lambda s: s.subject or "",
    "source": lambda s: s.source,
    "quality": lambda s: s.failure or "usable",
}


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """How one manifest became another.

    Attributes:
        added: ids only the later has, sorted.
        removed: ids only the earlier has, sorted.
        relabelled: ids whose image is the same and whose row is not, sorted.
        replaced: ids whose image is another, sorted.
        counts: ``expression``, ``subject``, ``source`` and ``quality`` (``usable`` or the failure
            of preprocessing) → value ("" = none) → images before and after, where they differ.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[str, ...]
    replaced: tuple[str, ...]
    counts: Mapping[str, Counts]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.relabelled or self.replaced)


def diff(before: Manifest, after: Manifest) -> VersionDiff:
    """Compare two manifests by sample id."""
    old = {s.id: s for s in before}
    new = {s.id: s for s in after}
    common = [(old[i], new[i]) for i in sorted(old.keys() & new.keys())]
    return VersionDiff(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        relabelled=tuple(a.id for a, b in common if a.digest == b.digest and a != b),
        replaced=tuple(a.id for a, b in common if a.digest != b.digest),
        counts={name: _changed(before, after, value) for name, value in _BY.items()},
    )


def summary(before: Manifest, after: Manifest, *, max_ids: int) -> Diff:
    """Compare two manifests; of the ids at most ``max_ids`` of each kind are told."""
    found = diff(before, after)
    changed = sorted((*found.relabelled, *found.replaced))
    return Diff(
        before=before.digest,
        after=after.digest,
        added=len(found.added),
        removed=len(found.removed),
        changed=len(changed),
        added_ids=found.added[:max_ids],
        removed_ids=found.removed[:max_ids],
        changed_ids=tuple(changed[:max_ids]),
        groups=tuple(
            Group(by, value, old, new)
            for by, values in found.counts.items()
            for value, (old, new) in values.items()
        ),
    )


def _changed(before: Manifest, after: Manifest, value: Callable[[Sample], str]) -> Counts:
    old = Counter(value(s) for s in before)
    new = Counter(value(s) for s in after)
    return {v: (old[v], new[v]) for v in sorted(old | new) if old[v] != new[v]}

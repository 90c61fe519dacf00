"""Everything a version was made from, as far back as it is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mien.core.catalogue import Edge, Relations
from mien.core.errors import Invalid
from mien.core.manifest import Licence, VersionInfo

Resolve = Callable[[str], VersionInfo | None]
Steps = Callable[[str], Iterable[Edge]]


@dataclass(frozen=True, slots=True)
class Lineage:
    """The ancestors of a version.

    Attributes:
        versions: digest → version, the one asked for first, nearer ancestors before farther.
        parents: digest → role → digest, as recorded.
        unresolved: digests that are no known version (weights, specs, or versions elsewhere).
    """

    versions: Mapping[str, VersionInfo]
    parents: Mapping[str, Mapping[str, str]]
    unresolved: tuple[str, ...]

    def licences(self) -> dict[str, Licence]:
        """Collect the licences of all ancestors by source: they bind what derives from them.

        Raises:
            Invalid: ``OTHER_LICENCES`` when one source has different licences in two versions.
        """
        found: dict[str, Licence] = {}
        for info in self.versions.values():
            for source, licence in info.licences.items():
                if found.setdefault(source, licence) != licence:
                    raise Invalid(
                        "OTHER_LICENCES",
                        f"the source {source!r} is {found[source].name!r} in one ancestor and "
                        f"{licence.name!r} in {info.name!r}",
                        hint="correct the reader's licence and make the version again",
                    )
        return found


def lineage(info: VersionInfo, resolve: Resolve) -> Lineage:
    """Follow ``provenance.parents`` from a version, breadth first.

    Args:
        info: where to start.
        resolve: finds a version by digest; None when it is not known.
    """
    versions = {info.digest: info}
    unresolved: dict[str, None] = {}
    waiting = deque(info.provenance.parents.values())
    while waiting:
        digest = waiting.popleft()
        if digest in versions or digest in unresolved:
            continue
        parent = resolve(digest)
        if parent is None:
            unresolved[digest] = None
            continue
        versions[digest] = parent
        waiting.extend(parent.provenance.parents.values())
    parents = {digest: dict(v.provenance.parents) for digest, v in versions.items()}
    return Lineage(versions, parents, tuple(unresolved))


def relations(
    root: str, resolve: Resolve, steps: Steps, *, down: bool, depth: int = 0
) -> Relations:
    """Follow edges from a version, breadth first, once each.

    Args:
        root: digest to start from.
        resolve: finds a version by digest; None when it is not registered.
        steps: the edges that leave a digest in the direction asked for.
        down: the edges go to children, not to parents.
        depth: steps at most; 0 = all.
    """
    edges: list[Edge] = []
    seen = {root}
    layer = [root]
    taken = 0
    while layer and not (depth and taken >= depth):
        found = [edge for digest in layer for edge in steps(digest)]
        edges += found
        reached = dict.fromkeys(edge.child if down else edge.parent for edge in found)
        layer = [digest for digest in reached if digest not in seen]
        seen.update(layer)
        taken += 1
    versions = {digest: info for digest in seen if (info := resolve(digest)) is not None}
    return Relations(root, tuple(edges), versions)

"""Make a version without a person: their images and everything made from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.core.digest import digest_of
from mien.core.errors import NotFound
from mien.core.manifest import Manifest, Provenance, VersionInfo
from mien.core.sample import Item, Sample
from mien.registry.read import Version
from mien.registry.write import write_version


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did.

    Attributes:
        info: the new version, without the person.
        removed: the rows it no longer has, by id.
        images: digests of every image of the person or made from one, here and in the related
            versions: what models and caches must be searched for.
    """

    info: VersionInfo
    removed: tuple[Sample, ...]
    images: frozenset[str]


def erase(
    version: Version, folder: Path, *, subject: str, related: Iterable[Manifest] = ()
) -> Erasure:
    """Write the version again without a subject and without what derives from their images.

    The old version stays where it is: delete it, its caches and backups, once nothing needs it.
    The new version's provenance records a digest of the subject, not their name.

    Args:
        version: to leave.
        folder: of the new version.
        subject: qualified, ``<source>:<who>``.
        related: manifests of versions that this one was made from; they tell which of its rows
            derive from the person where the rows do not name them.

    Raises:
        NotFound: ``UNKNOWN_SUBJECT`` when neither this nor a related version knows the subject.
        Corrupt: when an item that stays is damaged.
    """
    manifests = (version.manifest, *related)
    if not any(s.subject == subject for m in manifests for s in m):
        raise NotFound(
            "UNKNOWN_SUBJECT",
            f"no sample of {version.info.name} is of {subject!r}",
            hint="subjects are named <source>:<who>",
            details={"subject": subject},
        )
    images = derived_from(subject, manifests)
    removed = tuple(s for s in version.manifest if _is_of(s, subject, images))
    gone = {s.id for s in removed}
    info = write_version(
        _staying(version, gone),
        folder,
        name=version.info.name,
        provenance=Provenance(
            maker="erase",
            params={"subject": digest_of(subject), "removed": len(removed)},
            parents={"version": version.info.digest},
            code=version.info.provenance.code,
            device=version.info.provenance.device,
        ),
        licences=version.info.licences,
        duplicates="keep",  # those that stay were checked when they came
    )
    return Erasure(info, removed, images)


def derived_from(subject: str, manifests: Iterable[Manifest]) -> frozenset[str]:
    """Collect digests of a subject's images and of all made from them, over any generations."""
    samples = [s for m in manifests for s in m]
    images: set[str] = set()
    before = -1
    while before != len(images):
        before = len(images)
        images |= {s.digest for s in samples if s.digest and _is_of(s, subject, images)}
    return frozenset(images)


def _is_of(sample: Sample, subject: str, images: set[str] | frozenset[str]) -> bool:
    return (
        sample.subject == subject
        or sample.digest in images
        or sample.identity in images
        or not images.isdisjoint(sample.parents)
    )


def _staying(version: Version, gone: set[str]) -> Iterator[Item]:
    return version.items([s.id for s in version.manifest if s.id not in gone])

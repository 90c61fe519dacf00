"""Pass every set, real and synthetic, through the one preprocessing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import mien
from mien.core.errors import Invalid, NotFound
from mien.core.hooks import Progress
from mien.core.manifest import Provenance, VersionInfo
from mien.core.sample import Item, Sample
from mien.imaging.decode import STORED, decode
from mien.imaging.detect import make_detector
from mien.imaging.encode import encode_png
from mien.imaging.preprocess import preprocess
from mien.registry.write import write_version
from mien.stages.context import Context

if TYPE_CHECKING:
    from pathlib import Path

    from mien.core.preprocess import PreprocessSpec
    from mien.imaging.detect import Detector
    from mien.registry.read import Version

log = logging.getLogger(__name__)


def run(context: Context, name: str | None = None) -> None:
    """Preprocess one set of ``params.preprocess.sets``, or all.

    Raises:
        NotFound: ``UNKNOWN_SET``.
        Invalid: ``NO_FACES`` when not one face was found in a set.
    """
    sets = context.params.preprocess.sets
    if name is not None and name not in sets:
        raise NotFound(
            "UNKNOWN_SET",
            f"params.preprocess.sets has no {name!r}",
            hint=f"one of: {', '.join(sets)}",
        )
    for each in [name] if name else list(sets):
        info, failures = preprocess_one(context, each, sets[each])
        log.info("preprocessed", extra={"set": each, "rows": info.rows, "failures": dict(failures)})


def preprocess_one(context: Context, name: str, where: str) -> tuple[VersionInfo, Counter[str]]:
    """Write ``data/preprocess/<name>``; samples without a face keep their failure."""
    source = context.version(where)
    spec = context.params.preprocess.spec
    return prepare(context, name, source, spec, context.folder("preprocess", name))


def prepare(
    context: Context, name: str, source: Version, spec: PreprocessSpec, folder: Path
) -> tuple[VersionInfo, Counter[str]]:
    """Pass a version through a spec into a new version; returns it and the failures by reason.

    Raises:
        Invalid: ``NO_FACES`` when not one face was found.
    """
    failures: Counter[str] = Counter()
    detector = make_detector(spec, context.assets)
    info = write_version(
        _prepared(context, name, source, spec, detector, failures),
        folder,
        name=name,
        provenance=Provenance(
            maker="preprocess",
            params=asdict(spec),
            parents={"source": source.info.digest, "detector": detector.digest},
            code=mien.__version__,
        ),
        licences=source.info.licences,
        duplicates="keep",  # two pictures may become alike; the source was checked
        replace=True,
    )
    return info, failures


def _prepared(
    context: Context,
    name: str,
    source: Version,
    spec: PreprocessSpec,
    detector: Detector,
    failures: Counter[str],
) -> Iterator[Item]:
    whole = replace(spec, detector="none")
    for done, item in enumerate(source.items(), 1):
        image = decode(item.image, name=item.sample.id, limits=STORED)
        made = preprocess(image, spec, detector)
        if made.image is None:
            # The whole picture stands in, marked as a failure, so that a report can show it.
            failures[made.failure] += 1
            made_image = preprocess(image, whole, make_detector(whole, None)).image
        else:
            made_image = made.image
        if made_image is None:  # the detector `none` always gives an image
            raise Invalid("NO_IMAGE", f"{item.sample.id} could not be resized")
        data = encode_png(made_image)
        yield Item(_child(item.sample, spec.size_px, made.failure), data)
        if done % 200 == 0:
            context.progress(Progress(done, unit="images", stage=f"preprocess {name}"))
    if failures.total() == source.info.rows:  # said in here, before there is a version
        raise Invalid(
            "NO_FACES",
            f"{name}: the detector {spec.detector!r} found no face in any of "
            f"{source.info.rows} images",
            hint="choose another preprocess.detector, or `none` for cropped faces",
        )


def _child(sample: Sample, size_px: int, failure: str) -> Sample:
    parents = (*sample.parents, sample.digest) if sample.digest else sample.parents
    return replace(
        sample,
        parents=parents,
        landmarks=(),
        failure=failure,
        digest="",
        width=size_px,
        height=size_px,
    )

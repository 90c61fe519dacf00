"""The gate on a dataset version: read its faces, ask challenger and champion, record the use."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.core.arrays import Float, Int, UInt8
from mien.core.errors import Invalid, Unavailable, WrongState
from mien.core.preprocess import PreprocessSpec
from mien.core.serving import GateCheck
from mien.evaluation.gate import GateFaces, GateRule, judge_challenger
from mien.imaging.decode import STORED, decode
from mien.params.gate import GateParams
from mien.recognition.package import GOLDEN_TOLERANCE, Package, Variant
from mien.registry.staging import move_in, staged

if TYPE_CHECKING:
    from mien.registry.read import Version

USES = "gate_uses.jsonl"
BATCH = 64


class FaceGate:
    """A ``Gate`` over the faces of one preprocessed version."""

    def __init__(self, version: Path, params: GateParams, uses: Path, source: str = "") -> None:
        """Prepare; the version is read when it is used.

        Args:
            version: folder of a preprocessed dataset version.
            params: of the gate.
            uses: folder that keeps a line for each use.
            source: URI of the same version, for a machine that has no such folder yet.
        """
        self.version, self.uses, self.source = version, uses, source
        self.rule = GateRule(params.margin, params.recall_drop, params.max_ece)

    def __call__(
        self, challenger: Package, variant: Variant, champion: Package | None
    ) -> Sequence[GateCheck]:
        """Judge a challenger.

        Raises:
            WrongState: ``GATE_SET``, ``GATE_SET_SEEN``. NotFound: ``NO_VARIANT``.
            Unavailable: ``GATE_SET_UNAVAILABLE``.
        """
        from mien.registry.read import open_version

        if self.source and not self.version.exists():
            fetch_set(self.source, self.version)
        version = open_version(self.version)
        _check_unseen(version, challenger)
        images, faces = _faces(version, challenger)
        golden = _golden(challenger, variant)
        said = _probabilities(challenger, variant, images)
        before = None
        if champion is not None and _comparable(challenger, champion):
            before = _probabilities(champion, variant_of(champion, variant), images)
        checks = judge_challenger(
            faces,
            said,
            champion=before,
            baseline=_baseline(challenger, images) if before is None else None,
            rule=self.rule,
        )
        all_checks = (*checks, golden)
        self._record(version, challenger, champion, all_checks)
        return all_checks

    def _record(
        self,
        version: Version,
        challenger: Package,
        champion: Package | None,
        checks: Sequence[GateCheck],
    ) -> None:
        """Keep a line: faces that judged often have been selected on."""
        line = {
            "time": time.time(),
            "set": version.info.name,
            "digest": version.info.digest,
            "challenger": challenger.digest,
            "champion": champion.digest if champion else "",
            "checks": [asdict(c) for c in checks],
        }
        self.uses.mkdir(parents=True, exist_ok=True)
        with (self.uses / USES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def fetch_set(source: str, folder: Path) -> None:
    """Copy a version from a store, whole and verified or not at all.

    Raises:
        Unavailable: ``GATE_SET_UNAVAILABLE``. And what is wrong with the version.
    """
    from fsspec.core import url_to_fs

    from mien.registry.read import open_version

    with staged(folder) as temporary:
        try:
            system, root = url_to_fs(source.rstrip("/"))
            for path in system.find(root):
                file = temporary / str(path).removeprefix(root).lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                system.get_file(path, str(file))
        except Exception as error:  # every store has its own errors
            raise Unavailable(
                "GATE_SET_UNAVAILABLE",
                f"the gate's faces cannot be fetched from {source}: {error}",
                hint="copy data/preprocess/<set> there, and see MIEN_GATE_SETS",
            ) from error
        open_version(temporary).verify()
        move_in(temporary, folder, replace=False)


def variant_of(package: Package, wanted: Variant) -> Variant:
    """Return the variant a champion is compared in: the wanted one where it has it."""
    return wanted if wanted in package.spec.variants else "fp32"


def _comparable(challenger: Package, champion: Package) -> bool:
    """Tell whether both judge the same faces by the same labels; otherwise it is a first one."""
    mine, theirs = challenger.spec, champion.spec
    return (mine.preprocess, mine.expressions) == (theirs.preprocess, theirs.expressions)


def _check_unseen(version: Version, challenger: Package) -> None:
    seen = set(challenger.spec.saw)
    both = sorted(seen & set(version.manifest.subjects))
    if both or version.info.digest in challenger.spec.lineage.values():
        what = f"subjects {', '.join(both[:5])}" if both else "the whole set"
        raise WrongState(
            "GATE_SET_SEEN",
            f"the gate's set {version.info.name} was used to make the challenger: {what}",
            hint="name a set in params.gate.set that nothing was trained or selected on",
        )


def _faces(version: Version, package: Package) -> tuple[UInt8, GateFaces]:
    """Read labelled faces (N, S, S[, 3]) that were prepared with the model's own spec."""
    if PreprocessSpec(**version.info.provenance.params) != package.spec.preprocess:
        raise WrongState(
            "GATE_SET",
            f"{version.info.name} was not preprocessed as the model wants it",
            hint="run: mien preprocess, with the parameters the model was trained with",
        )
    classes = package.spec.expressions
    images: list[UInt8] = []
    labels: list[int] = []
    subjects: list[str] = []
    for item in version.items():
        sample = item.sample
        if sample.expression in classes and not sample.failure:
            images.append(decode(item.image, name=sample.id, limits=STORED))
            labels.append(classes.index(sample.expression))
            subjects.append(sample.subject or "")
    if not images:
        raise Invalid("GATE_SET", f"{version.info.name} has no face to judge", hint="name another")
    return np.stack(images), GateFaces(np.asarray(labels, np.int64), subjects, classes)


def _golden(package: Package, variant: Variant) -> GateCheck:
    golden = package.golden(variant)
    found = golden.deviation(_run(package, variant, golden.images))
    told = f"golden answers differ by {found:.2g}, at most {GOLDEN_TOLERANCE:g}"
    return GateCheck("golden", found <= GOLDEN_TOLERANCE, told)


def _probabilities(package: Package, variant: Variant, images: UInt8) -> Float:
    parts = [
        _run(package, variant, images[start : start + BATCH])["probabilities"]
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def _run(package: Package, variant: Variant, images: UInt8) -> dict[str, Float]:
    from mien.recognition.onnx_run import session

    names = list(package.spec.outputs)
    said = session(package.model(variant)).run(names, {"images": images})
    return dict(zip(names, said, strict=True))


def _baseline(package: Package, images: UInt8) -> Int | None:
    linear = package.baseline()
    if linear is None:
        return None
    from mien.recognition.hog_linear import called

    return called(linear, images)

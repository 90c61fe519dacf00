"""A model ready to be served, as a folder: network, preprocessing, labels, golden answers.

```
model.onnx          uint8 faces → calibrated probabilities, logits, affect
model.int8.onnx     the same in 8 bits, where it loses little enough
golden.npz          faces, and what the network says to them
baseline.npz        HOG + SVM on the same training rows, for the gate
reference.npz       what it said of validation, in sums, to see drift by; older packages have none
package.json        everything else
checksums.json      BLAKE3 of every file above
```

Reading one needs neither torch nor ONNX Runtime.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mien.core.arrays import AnyArray, Double, Float, UInt8
from mien.core.digest import canonical_json, digest_file, digest_of
from mien.core.errors import Corrupt, Invalid, NotFound
from mien.core.expression import Expression
from mien.core.preprocess import PreprocessSpec

FORMAT = 1
DESCRIPTION, CHECKSUMS = "package.json", "checksums.json"
GOLDEN, BASELINE, REFERENCE = "golden.npz", "baseline.npz", "reference.npz"
Variant = Literal["fp32", "int8"]
MODEL_FILES: dict[Variant, str] = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
GOLDEN_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class PackageSpec:
    """All of a package but its arrays.

    Attributes:
        expressions: labels in the order of the outputs; empty without that head.
        affect: whether it judges valence and arousal.
        preprocess: how a picture becomes its input.
        temperature: already inside the network; for the record.
        threshold: below this probability of the best label its answers abstain, in [0, 1].
        dataset_digest: of the training rows.
        trial: key of the trial that trained it, or "".
        lineage: what the trial says it was made from, plain values.
        saw: subjects that it, or what it was made with, saw.
        figures: measured on validation, fractions in [0, 1].
        variants: of the network that may be served → accuracy on validation.
        features: width of its features, which it gives out as well; 0 = it does not.
    """

    expressions: tuple[Expression, ...]
    affect: bool
    preprocess: PreprocessSpec
    temperature: float
    threshold: float = 0.0
    dataset_digest: str = ""
    trial: str = ""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    saw: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    variants: Mapping[str, float] = field(default_factory=dict)
    features: int = 0

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one input: (S, S) or (S, S, 3)."""
        side = (self.preprocess.size_px, self.preprocess.size_px)
        return side if self.preprocess.channels == "gray" else (*side, 3)

    @property
    def outputs(self) -> dict[str, int]:
        """Output name → its width."""
        classes = len(self.expressions)
        both = {"probabilities": classes, "logits": classes} if classes else {}
        affect = {"affect": 2} if self.affect else {}
        return both | affect | ({"features": self.features} if self.features else {})

    def to_json(self) -> dict[str, Any]:
        """Return plain values, read back by ``from_json``."""
        return {**asdict(self), "expressions": [str(e) for e in self.expressions], "format": FORMAT}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PackageSpec:
        """Build it from plain values.

        Raises:
            Corrupt: ``MODEL_FILES``.
        """
        try:
            known = dict(values)
            if known.pop("format") != FORMAT:
                raise ValueError("written by another release")
            known["expressions"] = tuple(Expression(e) for e in known["expressions"])
            known["preprocess"] = PreprocessSpec(**known["preprocess"])
            known["saw"] = tuple(known["saw"])
            return cls(**known)
        except (KeyError, TypeError, ValueError, Invalid) as error:
            raise _damaged(DESCRIPTION, str(error)) from None


@dataclass(frozen=True, slots=True)
class Golden:
    """Faces, and what the network says to them.

    Attributes:
        images: (N, S, S[, 3]) uint8.
        answers: output name → (N, …) float32.
    """

    images: UInt8
    answers: Mapping[str, Float]

    def deviation(self, said: Mapping[str, Float]) -> float:
        """Return the largest difference of answers from the golden ones; infinite where absent."""
        return max(
            float(np.abs(said[name] - want).max())
            if name in said and said[name].shape == want.shape
            else float("inf")
            for name, want in self.answers.items()
        )


@dataclass(frozen=True, slots=True)
class LinearBaseline:
    """A linear classifier of HOG features, plain arrays.

    Attributes:
        weights: (K, D) float64.
        bias: (K,) float64.
    """

    weights: Double
    bias: Double

    def scores(self, features: Float) -> Double:
        """Signed distances (N, K) of features (N, D)."""
        found: Double = features.astype(np.float64) @ self.weights.T + self.bias
        return found


@dataclass(frozen=True, slots=True)
class Package:
    """A package on disk, verified.

    Attributes:
        folder: where it lies.
        spec: all but its arrays.
        digest: of its files.
    """

    folder: Path
    spec: PackageSpec
    digest: str

    def model(self, variant: Variant = "fp32") -> Path:
        """Return a variant's model file.

        Raises:
            NotFound: ``NO_VARIANT`` when the package has none such.
        """
        if variant not in self.spec.variants:
            raise NotFound(
                "NO_VARIANT",
                f"the model has no {variant} variant: it would lose too much accuracy",
                hint=f"one of: {', '.join(self.spec.variants)}",
            )
        return self.folder / MODEL_FILES[variant]

    def golden(self, variant: Variant = "fp32") -> Golden:
        """Read the golden faces with the answers of a variant."""
        with np.load(self.folder / GOLDEN, allow_pickle=False) as arrays:
            prefix = f"{variant}/"
            answers = {
                name.removeprefix(prefix): arrays[name]
                for name in arrays.files
                if name.startswith(prefix)
            }
            return Golden(arrays["images"], answers)

    def baseline(self) -> LinearBaseline | None:
        """Read HOG + SVM; None where the package has none."""
        if not (self.folder / BASELINE).is_file():
            return None
        with np.load(self.folder / BASELINE, allow_pickle=False) as arrays:
            return LinearBaseline(arrays["weights"], arrays["bias"])

    def reference(self, variant: Variant = "fp32") -> dict[str, AnyArray] | None:
        """Read what drift of a variant is measured against; None where the package has none."""
        if not (self.folder / REFERENCE).is_file():
            return None
        with np.load(self.folder / REFERENCE, allow_pickle=False) as arrays:
            start = f"{variant}/"
            return {n.removeprefix(start): arrays[n] for n in arrays.files if n.startswith(start)}


def write_package(
    folder: Path,
    spec: PackageSpec,
    models: Mapping[Variant, bytes],
    golden: Mapping[Variant, Golden],
    baseline: LinearBaseline | None = None,
    reference: Mapping[Variant, Mapping[str, AnyArray]] | None = None,
) -> Package:
    """Fill an empty or new folder; the caller moves it to its place when it is whole.

    Args:
        folder: to fill.
        spec: all but the arrays; its ``variants`` are those of ``models``.
        models: variant → bytes of its ONNX file.
        golden: variant → golden answers, over the same faces.
        baseline: for the gate.
        reference: variant → what its drift is measured against.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for variant, data in models.items():
        (folder / MODEL_FILES[variant]).write_bytes(data)
    answers = {f"{v}/{name}": a for v, g in golden.items() for name, a in g.answers.items()}
    faces = next(iter(golden.values())).images
    (folder / GOLDEN).write_bytes(_packed(images=faces, **answers))
    if baseline is not None:
        (folder / BASELINE).write_bytes(_packed(weights=baseline.weights, bias=baseline.bias))
    if reference:
        sums = {f"{v}/{name}": a for v, arrays in reference.items() for name, a in arrays.items()}
        (folder / REFERENCE).write_bytes(_packed(**sums))
    text = json.dumps(json.loads(canonical_json(spec.to_json())), indent=1, sort_keys=True)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    write_checksums(folder)
    return read_package(folder)


def read_package(folder: Path) -> Package:
    """Read a package, every byte verified.

    Raises:
        NotFound: ``PACKAGE_MISSING``. Corrupt: ``MODEL_FILES``.
    """
    if not (folder / CHECKSUMS).is_file():
        raise NotFound(
            "PACKAGE_MISSING", f"{folder} holds no model package", hint="run: mien register"
        )
    digest = verify_checksums(folder)
    try:
        values = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(DESCRIPTION, str(error)) from None
    return Package(folder, PackageSpec.from_json(values), digest)


def write_checksums(folder: Path) -> str:
    """Write the BLAKE3 of every file below a folder into ``checksums.json``; returns the digest."""
    found = _files(folder)
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    (folder / CHECKSUMS).write_text(text, encoding="utf-8")
    return digest_of(found)


def verify_checksums(folder: Path) -> str:
    """Compare every file below a folder with ``checksums.json``; returns the folder's digest.

    Raises:
        Corrupt: ``MODEL_FILES`` naming the files at fault.
    """
    try:
        written = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(str(folder / CHECKSUMS), str(error)) from None
    found = _files(folder)
    if written != found:
        names = sorted(n for n in {*written, *found} if written.get(n) != found.get(n))
        raise _damaged(str(folder), f"not as written: {', '.join(names)}")
    return digest_of(found)


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != CHECKSUMS
    }


def _packed(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _damaged(where: str, what: str) -> Corrupt:
    return Corrupt(
        "MODEL_FILES",
        f"the model's package is damaged: {where}: {what}",
        hint="register the model again",
    )

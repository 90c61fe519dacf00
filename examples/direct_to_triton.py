"""Prepare faces oneself and ask Triton directly, by the standard inference protocol.

    python examples/direct_to_triton.py runs/package photo.jpg --triton 127.0.0.1:8001

For those who already hold faces, or send many: the service's decoding and detection are left out.
The package of the model (in MLflow the artefact of its registered version) describes how a picture
becomes its input and what its outputs mean; the code that prepares is the one that training used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from mien.core.arrays import Float, UInt8
from mien.imaging.decode import decode
from mien.imaging.detect import Detector, make_detector
from mien.imaging.preprocess import preprocess
from mien.recognition.package import PackageSpec, read_package
from mien.settings import load_settings


def main() -> int:
    """Judge the best face of each photo."""
    parser = argparse.ArgumentParser(description="Ask Triton which expressions photos show.")
    parser.add_argument("package", type=Path, help="folder of the model's package")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--triton", default="127.0.0.1:8001", help="host:port of Triton's gRPC")
    parser.add_argument("--model", default="expression", help="name in Triton's repository")
    given = parser.parse_args()
    spec = read_package(given.package).spec
    detector = make_detector(spec.preprocess, load_settings(Path.cwd()).assets)
    with triton.InferenceServerClient(given.triton) as client:
        for photo in given.photos:
            face = prepared(photo, spec, detector)
            if face is None:
                print(f"{photo}: no face")
            else:
                print(f"{photo}: {said(spec, ask(client, given.model, face[np.newaxis], spec))}")
    return 0


def prepared(photo: Path, spec: PackageSpec, detector: Detector) -> UInt8 | None:
    """Turn a photo into the network's input (S, S[, 3]) uint8; None where no face is found."""
    image = decode(photo.read_bytes(), name=photo.name)
    return preprocess(image, spec.preprocess, detector).image


def ask(
    client: triton.InferenceServerClient, model: str, faces: UInt8, spec: PackageSpec
) -> dict[str, Float]:
    """Send faces (N, S, S[, 3]) uint8; returns output name → (N, …) float32."""
    images = triton.InferInput("images", list(faces.shape), "UINT8")
    images.set_data_from_numpy(faces)
    answer = client.infer(model, [images], client_timeout=10.0)
    return {name: answer.as_numpy(name) for name in spec.outputs}


def said(spec: PackageSpec, answer: dict[str, Float]) -> str:
    """Put the answer for one face into words; probabilities are calibrated already."""
    words = []
    if spec.expressions:
        chances = answer["probabilities"][0]
        best = np.argsort(-chances)[:3]
        words += [f"{spec.expressions[i]} {chances[i]:.0%}" for i in best]
    if spec.affect:
        valence, arousal = answer["affect"][0]
        words.append(f"valence {valence:+.2f}, arousal {arousal:+.2f}")
    return ", ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())

"""A pipeline of a second, for DVC to run: real faces and figures, and a network without training.

``sweep.first_seed`` 0 makes a model that sees, 1 one that sees nothing. It leaves behind what the
project's own stages leave and a retraining reads.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from mien.core.digest import digest_of
from mien.core.expression import EKMAN_SIX
from mien.core.manifest import Provenance
from mien.core.preprocess import PreprocessSpec
from mien.core.scores import Predictions
from mien.core.split import Arm
from mien.evaluation.curve import CurvePoint, curve_rows
from mien.evaluation.metrics import evaluate
from mien.imaging.decode import decode
from mien.registry.write import write_version
from tests.integration.serving.test_faces import bright_faces, seeing_weights
from tests.integration.serving.tiny import SIDE

SETS = {"lab": 5, "blind": 8, "invented": 4}
STRENGTH = {0: 0.002, 1: 0.0}
OUTS = [f"data/preprocess/{name}" for name in SETS]
OUTS += ["data/sweep", "data/evaluate", "data/decide"]
METRICS = ["data/metrics/summary.json", "data/metrics/decision.json"]


def stages():
    """The ``dvc.yaml`` of it."""
    outs = [*OUTS, *({name: {"cache": False}} for name in METRICS)]
    run = {"cmd": "python quick_pipeline.py", "params": [{"params.yaml": None}], "outs": outs}
    return {"stages": {"run": run}}


def weights_of(seed):
    """Weights of the model that a seed makes."""
    return seeing_weights(STRENGTH[seed])


def write(path, value):
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True))


def judged(faces, seed):
    """What the model of a seed says about faces."""
    images = np.stack([decode(f.image) for f in faces]).reshape(len(faces), -1)
    return evaluate(
        Predictions(
            ids=[f.sample.id for f in faces],
            subjects=[f.sample.subject for f in faces],
            labels=np.array([EKMAN_SIX.index(f.sample.expression) for f in faces]),
            logits=(images @ weights_of(seed)).astype(np.float32),
            classes=EKMAN_SIX,
            affect=np.empty((len(faces), 0), np.float32),
            affect_true=np.empty((len(faces), 0), np.float32),
        )
    )


def main():
    """Make everything anew."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    seed, data = params["sweep"]["first_seed"], Path("data")
    for name, people in SETS.items():
        write_version(
            bright_faces(people),
            data / "preprocess" / name,
            name=name,
            provenance=Provenance("test", asdict(PreprocessSpec(size_px=SIDE))),
            licences={},
            duplicates="keep",
            replace=True,
        )
    found = judged(list(bright_faces(SETS["blind"])), seed)
    trial = {"key": digest_of(params), "arm": "r0", "protocol": "steps", "seed": seed}
    plain = found.to_dict()
    sets = {"sets": {"test": plain, "blind:blind": plain}, "temperature": 1.0}
    at = CurvePoint(Arm(), "test", "steps", found.accuracy, 0.1, 0.9, 1, SETS["blind"], 0.0)
    write(data / "evaluate" / "metrics.json", [trial | sets])
    write(data / "evaluate" / "curve.json", curve_rows([at]))
    write(data / "sweep" / "trials.json", [trial | {"wall_s": 1.5, "device": "cpu"}])
    challenger = {"trial": trial["key"], "arm": "r0", "temperature": 1.0}
    said = {"sentence": f"None helps; accuracy {found.accuracy:.2f}."}
    write(
        data / "decide" / "decision.json", {"protocols": {"steps": said}, "challenger": challenger}
    )
    write(data / "metrics" / "summary.json", {"steps": {"test": {"r0": round(found.accuracy, 4)}}})
    write(data / "metrics" / "decision.json", {"verdict": "none", "ratio": 0})


if __name__ == "__main__":
    main()

"""Keep only faces that a classifier takes for what they should show; an identity whole or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from mien.core.arrays import Bool
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, GeneratedFace
from mien.core.ports import Engine, Scorer
from mien.core.preprocess import PreprocessSpec
from mien.core.sample import Item
from mien.imaging.detect import make_detector
from mien.imaging.preprocess import preprocess


@dataclass(frozen=True, slots=True)
class Passed:
    """What came of some identities.

    Attributes:
        identities: the faces of every identity that is complete.
        rejected: expression → faces that were refused.
    """

    identities: list[list[Item]]
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter by label fidelity; plain values, so that it travels to workers.

    Attributes:
        model: folder of the classifier; never the judge.
        spec: how its faces are prepared.
        thresholds: expression → least probability of it where it is intended.
        tries: candidates for a face.
        step: images a cell: candidates take the variations after those.
    """

    model: Path
    spec: PreprocessSpec
    thresholds: Mapping[Expression, float]
    tries: int
    step: int

    def keep(
        self, engine: Engine, identities: Sequence[Sequence[FaceRequest]]
    ) -> tuple[list[list[GeneratedFace]], Mapping[str, int]]:
        """Make faces until each passes or its tries are used up; drop incomplete identities.

        A face that is refused is asked for again as another variation, so it has another
        intensity and, where the engine draws any, other noise.
        """
        passed: dict[str, GeneratedFace] = {}
        rejected: Counter[str] = Counter()
        waiting = list(chain.from_iterable(identities))
        for attempt in range(self.tries):
            asked = [self._again(r, attempt) for r in waiting]
            made = list(engine.synthesise(asked))
            right = self._right(made)
            refused = []
            for original, face, good in zip(waiting, made, right, strict=True):
                if good:
                    passed[original.id] = replace(
                        face, request=replace(face.request, id=original.id)
                    )
                else:
                    rejected[str(original.expression)] += 1
                    refused.append(original)
            waiting = refused
            if not waiting:
                break
        whole = [i for i in identities if all(r.id in passed for r in i)]
        return [[passed[r.id] for r in i] for i in whole], rejected

    def _again(self, request: FaceRequest, attempt: int) -> FaceRequest:
        """Ask as another variation, a little stronger every time, up to full intensity."""
        stronger = request.intensity + (1.0 - request.intensity) * attempt / self.tries
        return replace(
            request, variation=request.variation + attempt * self.step, intensity=stronger
        )

    def _right(self, faces: Sequence[GeneratedFace]) -> Bool:
        """Tell which faces show what was intended: (N,) bool."""
        scorer, index = _scorer(self.model)
        whole = replace(self.spec, detector="none")
        detector = make_detector(whole, None)
        images = [preprocess(f.image, whole, detector).image for f in faces]
        said = scorer.probabilities(np.stack([i for i in images if i is not None]))
        wanted = [f.request.expression for f in faces if f.request.expression is not None]
        sure = said[np.arange(len(faces)), [index[e] for e in wanted]]
        passed: Bool = sure >= np.array([self.thresholds[e] for e in wanted])
        return passed


@cache
def _scorer(folder: Path) -> tuple[Scorer, dict[Expression, int]]:
    """Load a classifier once a process; torch is for pools with a filter only."""
    from mien.recognition.files import load_model
    from mien.recognition.predict import CnnScorer

    model = load_model(folder)
    scorer = CnnScorer(model.spec, model.weights, model.temperature)
    return scorer, {e: i for i, e in enumerate(model.spec.classes)}

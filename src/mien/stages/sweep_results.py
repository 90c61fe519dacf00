"""The long table of predictions: one row a trial, role and face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.core.errors import Corrupt
from mien.core.expression import Expression, parse_expressions
from mien.core.scores import Predictions
from mien.stages.arrays import SetArrays
from mien.stages.context import whole
from mien.stages.plans import PlannedTrial, label_indices

SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("role", pa.string()),
        ("sample", pa.string()),
        ("subject", pa.string()),
        ("label", pa.int64()),
        ("logits", pa.list_(pa.float32())),
        ("affect", pa.list_(pa.float32())),
        ("affect_true", pa.list_(pa.float32())),
    ]
)


def write_predictions(
    path: Path,
    planned: Sequence[PlannedTrial],
    folders: Mapping[str, Path],
    sets: Mapping[str, SetArrays],
) -> None:
    """Write all trials' predictions as one Parquet file, whole or not at all."""
    affect = {
        name: np.load(each.folder / "affect.npy", allow_pickle=False) for name, each in sets.items()
    }
    with (
        whole(path) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
    ):
        for trial in planned:
            for table in _tables(trial, folders[trial.plan.key], sets, affect):
                writer.write_table(table)


def _tables(
    trial: PlannedTrial,
    folder: Path,
    sets: Mapping[str, SetArrays],
    affect: Mapping[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]],
) -> Iterator[pa.Table]:
    classes = parse_expressions(trial.plan.classifier["classes"])
    with np.load(folder / "predictions.npz", allow_pickle=False) as said:
        for role, rows in trial.roles.items():
            samples = [
                sets[r.dataset].manifest.samples[sets[r.dataset].row[r.sample]] for r in rows
            ]
            true = [affect[r.dataset][sets[r.dataset].row[r.sample]].tolist() for r in rows]
            yield pa.table(
                {
                    "trial": [trial.plan.key] * len(rows),
                    "role": [role] * len(rows),
                    "sample": [s.id for s in samples],
                    "subject": [s.subject or "" for s in samples],
                    "label": label_indices(rows, classes),
                    "logits": said[f"{role}/logits"].tolist(),
                    "affect": said[f"{role}/affect"].tolist(),
                    "affect_true": true,
                },
                schema=SCHEMA,
            )


def read_predictions(
    path: Path, classes: tuple[Expression, ...]
) -> dict[tuple[str, str], Predictions]:
    """Read the table back as (trial, role) → predictions.

    Raises:
        Corrupt: ``PREDICTIONS`` when the file cannot be read.
    """
    try:
        frame = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt("PREDICTIONS", f"{path}: {error}", hint="run: mien sweep") from None
    found: dict[tuple[str, str], Predictions] = {}
    trials, roles = (np.array(frame[c].to_pylist(), dtype=object) for c in ("trial", "role"))
    if not len(trials):
        return found
    new = np.flatnonzero((trials[1:] != trials[:-1]) | (roles[1:] != roles[:-1])) + 1
    for start, stop in zip([0, *new], [*new, len(trials)], strict=True):
        piece = frame.slice(start, stop - start)
        columns = {c: piece[c].to_pylist() for c in ("sample", "subject", "label")}
        n = stop - start
        found[trials[start], roles[start]] = Predictions(
            ids=columns["sample"],
            subjects=columns["subject"],
            labels=np.array(columns["label"], dtype=np.int64),
            logits=_matrix(piece, "logits", n),
            classes=classes,
            affect=_matrix(piece, "affect", n),
            affect_true=_matrix(piece, "affect_true", n),
        )
    return found


def _matrix(
    piece: pa.Table, column: str, rows: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    flat = piece[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]] = flat.astype(np.float32).reshape(
        rows, -1
    )
    return matrix

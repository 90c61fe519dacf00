"""Ask the serving service which expressions the faces on photos show.

    python examples/recognise.py photo.jpg more/*.png --target 127.0.0.1:7104

Photos are sent as they are; the service finds and prepares the faces as training did. One photo is
a call, several are a stream. MIEN_TOKEN_FILE and MIEN_TLS_CA_FILE are used where they are set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mien.core.errors import MienError
from mien.core.serving import Query, RecognisedFace, Recognition, Refusal
from mien.settings import load_settings
from mien.wire.channel import open_channel
from mien.wire.serving_client import ServingClient


def main() -> int:
    """Recognise what the command line names; 2 when something could not be judged."""
    parser = argparse.ArgumentParser(description="Recognise the expressions on photos.")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--target", default="127.0.0.1:7104", help="host:port of the service")
    parser.add_argument("--threshold", type=float, help="abstain below this probability")
    given = parser.parse_args()
    refused = 0
    try:
        with open_channel(given.target, load_settings(Path.cwd())) as channel:
            serving = ServingClient(channel)
            for answer in recognised(serving, given.photos, given.threshold):
                print_answer(answer)
                refused += isinstance(answer, Refusal)
    except (MienError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, MienError) and error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    return 2 if refused else 0


def recognised(
    serving: ServingClient, photos: list[Path], threshold: float | None
) -> Iterator[Recognition | Refusal]:
    """Ask about one photo by a call, about several by a stream."""
    queries = (Query(p.read_bytes(), id=str(p), threshold=threshold) for p in photos)
    if len(photos) == 1:
        yield serving.recognise(next(queries))
    else:
        yield from serving.recognise_stream(queries)


def print_answer(answer: Recognition | Refusal) -> None:
    """Print a line a face, and which model said so."""
    if isinstance(answer, Refusal):
        print(f"{answer.id}: {answer.message} [{answer.reason}]", file=sys.stderr)
        return
    by = f"{answer.lineage.model}/{answer.lineage.model_version}"
    rows = answer.lineage.dataset_digest[:12]
    for face in answer.faces:
        print(f"{answer.id}: {sentence(face)}  (by {by}, trained on {rows})")
    if not answer.faces:
        print(f"{answer.id}: no face")


def sentence(face: RecognisedFace) -> str:
    """Say what a face shows, and how sure that is."""
    ranked = sorted(face.probabilities.items(), key=lambda pair: -pair[1])
    words = [f"{expression} {p:.0%}" for expression, p in ranked[:3]]
    if face.affect is not None:
        words.append(f"valence {face.affect.valence:+.2f}, arousal {face.affect.arousal:+.2f}")
    best = "not sure" if face.abstained else str(face.expression)
    where = f"{face.box.left:.0f},{face.box.top:.0f}"
    return f"at {where}: {best} ({', '.join(words)})"


if __name__ == "__main__":
    raise SystemExit(main())

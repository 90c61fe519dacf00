"""Verbs on one model or one dataset version, outside a project."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.session import hooks
from mien.core.errors import EXIT_USER


class Protocol(StrEnum):
    """How long to train."""

    STEPS = "steps"
    PAPER = "paper"


class Padding(StrEnum):
    """Padding of the seed network."""

    SAME = "same"
    VALID = "valid"


class Augmentation(StrEnum):
    """What happens to a batch."""

    PLAIN = "plain"
    GEOMETRIC = "geometric"


class Channels(StrEnum):
    """Colour of the network's input."""

    GRAY = "gray"
    RGB = "rgb"


class Detector(StrEnum):
    """How faces are found."""

    YUNET = "yunet"
    HAAR = "haar"
    NONE = "none"


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Form(StrEnum):
    """What to export to."""

    FOLDER = "folder"
    PARQUET = "parquet"
    CSV = "csv"


def train(
    ctx: typer.Context,
    train_on: Annotated[Path, typer.Option("--train", help="Training faces.")],
    validation: Annotated[Path, typer.Option(help="Faces that pick the best epoch.")],
    test: Annotated[Path | None, typer.Option(help="Faces that are judged once.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/train"),
    reader: Annotated[str, typer.Option(help="How the faces are stored.")] = "folder",
    network: Annotated[str, typer.Option(help="small, seed, vgg16 or a plugged-in one.")] = "small",
    padding: Annotated[Padding, typer.Option(help="Of the seed network.")] = Padding.SAME,
    width: Annotated[float, typer.Option(help="Factor on the network's channels.")] = 1.0,
    protocol: Annotated[
        Protocol, typer.Option(help="steps: --kimg on a schedule; paper: --epochs, early stop.")
    ] = Protocol.STEPS,
    kimg: Annotated[float, typer.Option(help="Thousands of images to see (steps).")] = 12.0,
    epochs: Annotated[int, typer.Option(help="At most so many (paper).")] = 50,
    patience: Annotated[int, typer.Option(help="Epochs without gain (paper).")] = 5,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 16,
    lr: Annotated[float | None, typer.Option(help="Learning rate; the protocol's own.")] = None,
    augment: Annotated[Augmentation, typer.Option(help="Of every batch.")] = Augmentation.GEOMETRIC,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    detector: Annotated[
        Detector, typer.Option(help="none: the images are cropped faces already.")
    ] = Detector.NONE,
    size_px: Annotated[int, typer.Option(help="Side of the input, in pixels.")] = 64,
    channels: Annotated[Channels, typer.Option(help="Of the input.")] = Channels.GRAY,
    threads: Annotated[int | None, typer.Option(help="Processor threads; all cores.")] = None,
    device: Annotated[Device, typer.Option(help="auto uses a GPU where there is one.")] = (
        Device.AUTO
    ),
) -> None:
    """Train one model on folders of your own.

    Writes curves, confusion matrices, a classification report and the model. Started again with
    the same options it goes on from its last checkpoint.
    """
    from mien.core.preprocess import PreprocessSpec
    from mien.logs import canonical_line
    from mien.recognition.spec import FitSpec
    from mien.settings import cores, load_settings
    from mien.stages import train as stage

    request = stage.Request(
        train=train_on,
        validation=validation,
        test=test,
        out=out,
        reader=reader,
        network=network,
        padding=padding.value,
        width=width,
        spec=PreprocessSpec(detector=detector.value, size_px=size_px, channels=channels.value),
        fit=FitSpec(
            protocol=protocol.value,
            kimg=kimg,
            epochs=epochs,
            patience=patience,
            batch=batch,
            lr=lr,
            base=augment.value,
            seed=seed,
            device=device.value,
            threads=threads or cores(),
        ),
    )
    with hooks(ctx) as given, canonical_line("train", out=str(out)):
        figures = stage.run(
            request,
            assets=load_settings(Path.cwd()).assets,
            progress=given.progress,
            cancelled=given.cancelled,
        )
    for name, value in figures.items():
        typer.echo(f"{name:<28} {value:.4f}")
    typer.echo(f"run folder: {out}")


def recognise(
    ctx: typer.Context,
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a photo.")] = False,
    assets: Annotated[
        Path | None, typer.Option(help="Folder of open assets, instead of MIEN_ASSETS.")
    ] = None,
) -> None:
    """Say which expression the face on each photo shows."""
    from mien.settings import load_settings
    from mien.stages import recognise as stage

    looked_at = failed = 0
    with hooks(ctx):
        for each in stage.run(model, photos, assets=assets or load_settings(Path.cwd()).assets):
            looked_at += 1
            failed += "failure" in each
            typer.echo(json.dumps(each) if as_json else _sentence(each))
    if failed:
        typer.echo(f"{failed} of {looked_at} photos gave no result", err=True)
    if failed == looked_at:
        raise typer.Exit(EXIT_USER)


def export(
    ctx: typer.Context,
    version: Annotated[Path, typer.Argument(help="Folder of a dataset version.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    form: Annotated[Form, typer.Option("--format", help="What to write.")] = Form.FOLDER,
) -> None:
    """Write a dataset version as ordinary files.

    The readers read them back identically.
    """
    from mien.logs import canonical_line
    from mien.stages import export as stage

    with hooks(ctx), canonical_line("export", version=str(version)):
        images = stage.run(version, out, format=form.value)
    typer.echo(f"{images} images: {out}")


def verify(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of a dataset version.")],
) -> None:
    """Compare every byte of a dataset version with its digest."""
    from mien.stages import verify as stage

    with hooks(ctx):
        info = stage.run(folder)
    typer.echo(f"{info.name}: {info.rows} images, every byte as written, version {info.digest}")


def _sentence(found: dict[str, Any]) -> str:
    """Put what was recognised into a line: the three likeliest, and the point of affect."""
    if "failure" in found:
        return f"{found['photo']}: {found['failure']}"
    ranked = sorted(found.get("probabilities", {}).items(), key=lambda pair: -pair[1])
    words = [f"{name} {p:.0%}" for name, p in ranked[:3]]
    words += [f"{name} {value:+.2f}" for name, value in found.get("affect", {}).items()]
    return f"{found['photo']}: {', '.join(words)}"

"""The open assets: what they are, where they come from, and under which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mien.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Asset:
    """One open asset.

    Attributes:
        name: for ``mien assets pull``.
        folder: below the folder of assets.
        what: for people.
        repository: ``owner/name`` upstream.
        commit: that is pinned.
        files: that make it complete, relative to ``folder``.
        sha256: upstream path → known digest; others are recorded when first received.
        licence: SPDX id.
        terms: what to know before using it; shown before a download.
        size_mb: about so much is downloaded.
    """

    name: str
    folder: str
    what: str
    repository: str
    commit: str
    files: tuple[str, ...]
    licence: str
    terms: str
    size_mb: int
    sha256: Mapping[str, str] = field(default_factory=dict)

    def present(self, home: Path | None) -> bool:
        """Whether all of it is below ``home``."""
        return home is not None and all((home / self.folder / f).is_file() for f in self.files)


YUNET_FILE = "onnx/yunet_s_640_640.onnx"

ASSETS = (
    Asset(
        name="ict",
        folder="ict_facekit",
        what="3D morphable head: 26,719 vertices, 100 identity modes, 57 expression shapes",
        repository="ICT-VGL/ICT-FaceKit",
        commit="da5f95a607f5e6b37755b38d3385d7f2853732e5",
        files=("ict_facekit.npz",),
        licence="MIT",
        terms="Copyright (c) 2020 USC Institute for Creative Technologies. No person is shown.",
        size_mb=520,
    ),
    Asset(
        name="yunet",
        folder="yunet",
        what="face detector with five landmarks, for OpenCV",
        repository="ShiqiYu/libfacedetection.train",
        commit="0047ac24",
        files=("face_detection_yunet_2023mar.onnx",),
        licence="Apache-2.0",
        terms="The same file is in OpenCV's model zoo under MIT.",
        size_mb=1,
        sha256={YUNET_FILE: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"},
    ),
    Asset(
        name="london",
        folder="london",
        what="Face Research Lab London Set: 102 people, neutral and smiling, with landmarks",
        repository="debruine/webmorphR.stim",
        commit="fa8b78fda2d659bb74ce62fcd99c4407551d2a77",
        files=("landmarks.json", "info.csv"),
        licence="CC-BY-4.0",
        terms=(
            "Photographs of real people, who gave signed consent for their images to be used in "
            "lab-based and web-based studies, in original or altered forms, and to illustrate "
            "research. Cite: DeBruine, L., & Jones, B. (2017). Face Research Lab London Set "
            "(Version 5). figshare. doi 10.6084/m9.figshare.5047666.v5"
        ),
        size_mb=95,
    ),
)


def asset_named(name: str) -> Asset:
    """Find an asset.

    Raises:
        NotFound: ``UNKNOWN_ASSET``.
    """
    for asset in ASSETS:
        if name in (asset.name, asset.folder):
            return asset
    known = ", ".join(a.name for a in ASSETS)
    raise NotFound("UNKNOWN_ASSET", f"there is no asset {name!r}", hint=f"one of: {known}")

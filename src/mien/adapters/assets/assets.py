"""Pull open assets from their upstream: pinned, checked, converted, cached atomically.

Files are fetched one by one, so there is no archive to unpack; names that upstream content
contains are used only when they are exactly three digits. Where no SHA-256 is known beforehand,
the commit pins the content, and what was first received is recorded and demanded ever after.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mien.adapters.assets.table import YUNET_FILE, Asset
from mien.core.digest import digest_file
from mien.core.errors import Corrupt, Interrupted
from mien.core.hooks import Cancelled, OnProgress, Progress

AT_ONCE = 8
LICENCE_FILES = {"ict": "LICENSE", "yunet": "LICENSE", "london": "LICENSE.md"}


def base_url(asset: Asset, mirror: str) -> str:
    """Return the address the upstream paths are relative to."""
    if mirror:
        return f"{mirror}/{asset.repository}/{asset.commit}"
    if len(asset.commit) == 40:
        return f"https://raw.githubusercontent.com/{asset.repository}/{asset.commit}"
    return f"https://github.com/{asset.repository}/raw/{asset.commit}"  # also takes short names


def pull(
    asset: Asset,
    home: Path,
    *,
    mirror: str = "",
    progress: OnProgress,
    cancelled: Cancelled,
) -> Path:
    """Make an asset present below ``home``; does nothing when it is.

    What was downloaded before an interruption is not downloaded again.

    Args:
        asset: what to pull.
        home: folder of assets.
        mirror: base URL instead of the upstream; below it ``owner/name/commit/path``.
        progress: told about every file.
        cancelled: asked between pieces.

    Returns:
        The asset's folder.

    Raises:
        NotFound, Unavailable, Exhausted, Corrupt: as ``download.fetch``; ``ASSET_CONTENT`` when
            the files are not what is expected.
        Interrupted: when cancelled.
    """
    folder = home / asset.folder
    if asset.present(home):
        return folder
    staging = home / f".pulling-{asset.name}-{asset.commit[:8]}"
    upstream, made = staging / "upstream", staging / "made"
    puller = _Puller(asset, home, upstream, base_url(asset, mirror), progress, cancelled)
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    try:
        _MAKERS[asset.name](puller, made)
    except Corrupt:
        shutil.rmtree(staging)  # or the next pull would find the same again
        raise
    shutil.copy(upstream / LICENCE_FILES[asset.name], made / LICENCE_FILES[asset.name])
    puller.record(made)
    shutil.rmtree(folder, ignore_errors=True)  # incomplete, or it would be present
    made.rename(folder)
    shutil.rmtree(staging)
    return folder


def lock_file(asset: Asset, home: Path) -> Path:
    """Where it is recorded what was received and made."""
    return home / f"{asset.name}.lock.json"


def damage(asset: Asset, home: Path) -> list[str]:
    """Name the files that are not what was made when the asset was pulled.

    Without a record only files with a known SHA-256 are compared.
    """
    folder = home / asset.folder
    wrong = [
        name
        for name, digest in _read_lock(asset, home).get("made", {}).items()
        if not (folder / name).is_file() or digest_file(folder / name) != digest
    ]
    if asset.name == "yunet" and not wrong:
        import hashlib

        found = hashlib.sha256((folder / asset.files[0]).read_bytes()).hexdigest()
        return [] if found == asset.sha256[YUNET_FILE] else [asset.files[0]]
    return wrong


def _read_lock(asset: Asset, home: Path) -> dict[str, Any]:
    try:
        lock: dict[str, Any] = json.loads(lock_file(asset, home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return lock if lock.get("commit") == asset.commit else {}


class _Puller:
    """Fetches upstream files of one asset, and remembers what it got."""

    def __init__(
        self,
        asset: Asset,
        home: Path,
        upstream: Path,
        base: str,
        progress: OnProgress,
        cancelled: Cancelled,
    ) -> None:
        self.asset = asset
        self.home = home
        self.upstream = upstream
        self.base = base
        self.progress = progress
        self.cancelled = cancelled
        self.known = {**_read_lock(asset, home).get("received", {}), **asset.sha256}
        self.received: dict[str, str] = {}

    def fetch(self, paths: Sequence[str]) -> None:
        """Fetch files several at a time; the first failure stops the others."""
        import requests

        from mien.adapters.assets.download import fetch

        failed: list[bool] = []

        def stop() -> bool:
            return bool(failed) or self.cancelled()

        def one(path: str) -> str:
            if stop():
                raise Interrupted("pull stopped")
            target = self.upstream / path
            return fetch(
                session,
                f"{self.base}/{path}",
                target,
                sha256=self.known.get(path),
                cancelled=stop,
            )

        with requests.Session() as session, ThreadPoolExecutor(AT_ONCE) as threads:
            waiting = [(path, threads.submit(one, path)) for path in paths]
            try:
                for done, (path, future) in enumerate(waiting, 1):
                    self.received[path] = future.result()
                    self.progress(
                        Progress(done, len(paths), unit="files", stage=f"pull {self.asset.name}")
                    )
            except BaseException:
                failed.append(True)
                raise

    def record(self, made: Path) -> None:
        """Write what was received, and what was made of it."""
        lock = {
            "repository": self.asset.repository,
            "commit": self.asset.commit,
            "received": self.received,
            "made": {
                str(f.relative_to(made)): digest_file(f)
                for f in sorted(made.rglob("*"))
                if f.is_file()
            },
        }
        path = lock_file(self.asset, self.home)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)


def _make_ict(puller: _Puller, made: Path) -> None:
    from mien.adapters.assets.convert import convert_ict, ict_paths

    puller.fetch([LICENCE_FILES["ict"], *ict_paths()])
    convert_ict(puller.upstream, made)


def _make_yunet(puller: _Puller, made: Path) -> None:
    puller.fetch([LICENCE_FILES["yunet"], YUNET_FILE])
    shutil.copy(puller.upstream / YUNET_FILE, made / puller.asset.files[0])


def _make_london(puller: _Puller, made: Path) -> None:
    from mien.adapters.assets.convert import convert_london, london_paths, london_people

    info = "data-raw/london_info.csv"
    puller.fetch([LICENCE_FILES["london"], info])
    puller.fetch(london_paths(london_people(puller.upstream / info)))
    convert_london(puller.upstream, made)


_MAKERS: dict[str, Callable[[_Puller, Path], None]] = {
    "ict": _make_ict,
    "yunet": _make_yunet,
    "london": _make_london,
}

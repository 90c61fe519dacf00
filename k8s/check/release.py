"""Put pushed images into the release: ``make release IMAGES="name=where@sha256:… …"``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from k8s.check.rendering import K8S
from k8s.check.steps import UNRELEASED

RELEASE = K8S / "components" / "release" / "kustomization.yaml"
_GIVEN = re.compile(r"([\w-]+)=([^\s@=]+)@(sha256:[0-9a-f]{64})")
_TAG = re.compile(r":([\w][\w.-]*)$")


class Refused(Exception):
    """What was given cannot be a release; the message says why."""


def parse(given: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Read ``name=where@sha256:…``; returns name → (where, digest).

    Raises:
        Refused: for another form, a name given twice, or a digest of zeros.
    """
    found: dict[str, tuple[str, str]] = {}
    for each in given:
        read = _GIVEN.fullmatch(each)
        if read is None:
            raise Refused(f"{each!r} is not name=where@sha256:<64 hex digits>")
        name, where, digest = read.groups()
        if name in found:
            raise Refused(f"{name} is given twice")
        if digest == UNRELEASED:
            raise Refused(f"{name}: all zeros stand for an image that was not built")
        found[name] = (where, digest)
    if not found:
        raise Refused("no image is given: make release IMAGES='name=where@sha256:… …'")
    return found


def write(text: str, images: Mapping[str, tuple[str, str]]) -> str:
    """Return the component with these images; what was not given stays as it is.

    Raises:
        Refused: ``name`` is none of the manifests'.
    """
    for name, (where, digest) in images.items():
        # One entry: from its name to the next entry, or to the next key.
        entry = re.compile(rf"  - (\{{name: {name},|name: {name}\n).*?(?=^  - |^\w)", re.M | re.S)
        if not entry.search(text):
            raise Refused(f"the manifests have no image {name}")
        tag = _TAG.search(where)
        lines = [f"name: {name}", f"newName: {where[: tag.start()] if tag else where}"]
        lines += [f'newTag: "{tag[1]}"'] if tag else []
        lines += [f'digest: "{digest}"']
        body = "  - " + "\n    ".join(lines) + "\n"  # holds no backslash: sub takes it as it is
        text = entry.sub(body, text, count=1)
    return text


def main(given: Sequence[str] | None = None, file: Path = RELEASE) -> int:
    """Write the release; returns 0, or 2 for what is refused, and then nothing is written."""
    try:
        images = parse(sys.argv[1:] if given is None else given)
        text = write(file.read_text(), images)
    except Refused as why:
        sys.stderr.write(f"release: {why}\n")
        return 2
    file.write_text(text)
    for name, (where, digest) in images.items():
        print(f"{name}: {where} {digest[:19]}…")
    if left := re.findall(rf"name: ([\w-]+)[^{{}}]*?{UNRELEASED}", text):
        print(f"not released yet: {', '.join(left)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

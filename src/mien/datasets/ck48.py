"""Reader ``ck48``: CK+48, the 48×48 peak frames of CK+."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.manifest import Licence
from mien.core.sample import Item, Sample
from mien.datasets.files import images_in, listing, read_image, relative, unexpected
from mien.datasets.labels import CK48_FOLDERS, translate
from mien.datasets.reading import Source
from mien.params.section import Section

CK48_LICENCE = Licence(
    name="research only (CK+ agreement)",
    commercial=False,
    consent="for research; publication of images only of the subjects who agreed to it",
    citation="Lucey, P. et al. (2010). The Extended Cohn-Kanade Dataset (CK+). CVPR Workshops. "
    "doi 10.1109/CVPRW.2010.5543262",
)
_NAME = re.compile(r"(S\d{3})_(\d{3})_(\d{8})\.png")
_FOLDER = "CK+48"


class Ck48Params(Section):
    """Parameters of ``ck48``: none."""


def read_ck48(source: Source) -> Iterator[Item]:
    """Read ``CK+48/<class>/S010_004_00000017.png``; the root is that folder or the one above.

    Subjects are qualified ``ck_plus:``, for they are the people of CK+: a split or a blind test
    that has both must see that.

    Raises:
        Invalid: ``UNKNOWN_LABEL``, ``MALFORMED_NAME``, ``UNEXPECTED_FILE``,
            ``CLASS_WITHOUT_SAMPLES``; a bad image.
    """
    root = source.root / _FOLDER if (source.root / _FOLDER).is_dir() else source.root
    for folder in listing(root, source.notes):
        name = relative(folder, root)
        if not folder.is_dir():
            raise unexpected(name)
        expression = translate(folder.name, CK48_FOLDERS, name)
        for path, file in images_in(folder, root, source.notes):
            yield _item(path, file, expression)


def _item(path: Path, file: str, expression: Expression) -> Item:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise Invalid(
            "MALFORMED_NAME",
            f"{file} is not S<3 digits>_<3 digits>_<8 digits>.png",
            hint="augmented or renamed copies are refused: their subject is not known",
            details={"file": file},
        )
    subject, take, frame = match.groups()
    data, width, height = read_image(path, file)
    sample = Sample(
        id=f"ck48/{file}",
        source="ck48",
        subject=f"ck_plus:{subject}",
        expression=expression,
        file=file,
        frame=int(frame),
        sequence=f"{subject}_{take}",
        width=width,
        height=height,
    )
    return Item(sample, data)

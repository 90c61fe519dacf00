"""What every engine promises, whichever it is."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core.digest import digest_bytes
from mien.core.errors import Invalid
from mien.core.expression import EXPRESSIONS, Expression
from mien.core.generation import FaceRequest, SourceFace
from mien.core.ports import Engine
from mien.generators.affect_invent import invent
from mien.generators.affect_params import AffectParams
from mien.generators.engines import honours_intensity, make_engine
from mien.generators.requests import check_balance, plan_requests
from mien.morphable.head import load_head
from tests.contract.untrained import untrained

ASSETS = Path(os.environ["MIEN_ASSETS"]) if os.environ.get("MIEN_ASSETS") else None


@dataclass(frozen=True)
class Case:
    """An engine with parameters that make it fast."""

    engine: str
    params: Mapping[str, Any]
    asset: str = ""
    invents: bool = True
    photos: bool = True
    intensity: bool = True
    other: Mapping[str, Any] = field(default_factory=lambda: {"size_px": 64})

    def make(self, **more: Any) -> Engine:
        return make_engine(self.engine, {**self.params, **more}, assets=ASSETS)


# Other engines add their line here; trained ones are used as small untrained networks.
NOISE, TRANSLATE = untrained("noise"), untrained("translate")
CASES = {
    "affect": Case("affect", {"backend": "builtin", "size_px": 48, "photo_px": 64}),
    "affect-ict": Case(
        "affect", {"backend": "ict", "size_px": 48, "photo_px": 64}, "ict_facekit/ict_facekit.npz"
    ),
    "noise": Case(
        "noise", {"generator": NOISE}, photos=False, intensity=False, other={"truncation": 0.5}
    ),
    "translate": Case(
        "translate", {"generator": TRANSLATE}, invents=False, other={"intensity": 0.5}
    ),
    "compose": Case(
        "compose",
        {"identity": {"generator": NOISE}, "expression": {"generator": TRANSLATE}},
        photos=False,
        other={"expression": {"generator": TRANSLATE, "intensity": 0.5}},
    ),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def named(request):
    case = CASES[request.param]
    if case.asset and (ASSETS is None or not (ASSETS / case.asset).is_file()):
        pytest.skip(f"MIEN_ASSETS has no {case.asset}")
    return case, case.make()


@pytest.fixture(scope="module")
def photo() -> SourceFace:
    """A picture with landmarks, of nobody, larger than what is made from it."""
    made = invent(load_head("builtin", None), AffectParams(), 77, 100)
    points = tuple((float(x), float(y)) for x, y in made.landmarks)
    return SourceFace("photos/one", "d1", "photos:one", made.image, points)


def wanted(case: Case, photo: SourceFace, invented: slice, photographed: slice):
    """Some requests of the kinds an engine answers."""
    return [
        *(plan()[invented] if case.invents else ()),
        *(plan(photo)[photographed] if case.photos else ()),
    ]


def plan(source: SourceFace | None = None, **options: Any) -> list[FaceRequest]:
    where: dict[str, Any] = {"sources": [source]} if source else {"identities": 2}
    arguments = {"pool": "p", "pool_seed": 4, "expressions": EXPRESSIONS, **where, **options}
    return list(plan_requests(**arguments))


def digests(engine: Engine, requests: Iterable[FaceRequest]) -> dict[str, str]:
    return {f.request.id: digest_bytes(f.image.tobytes()) for f in engine.synthesise(requests)}


def test_answers_every_request_in_order(named, photo):
    """One face per request, its own request with it, uint8 RGB, landmarks as 68 points or none."""
    case, engine = named
    requests = wanted(case, photo, slice(3), slice(3))
    faces = list(engine.synthesise(iter(requests)))
    assert [f.request for f in faces] == requests
    for face in faces:
        assert face.image.dtype == np.uint8
        assert face.image.ndim == 3
        assert face.image.shape[2] == 3
        assert len(face.landmarks) in (0, 68)
        assert face.image.std() > 1


def test_a_pool_is_exactly_balanced(named, photo):
    """Every identity shows every expression."""
    case, engine = named
    requests = plan() if case.invents else plan(photo, units=2)
    faces = [(f.request.identity, f.request.expression) for f in engine.synthesise(requests)]
    assert check_balance(faces, expressions=EXPRESSIONS) == 2


def test_the_same_face_whatever_the_order_and_the_instance(named, photo):
    """Bytes depend on digest, seed, identity, variation and expression: on nothing else."""
    case, engine = named
    requests = wanted(case, photo, slice(6), slice(4))
    forwards = digests(engine, requests)
    fresh = case.make()
    assert fresh.digest == engine.digest
    assert digests(fresh, requests[::-1]) == forwards
    assert digests(fresh, requests[2:4]) == {r.id: forwards[r.id] for r in requests[2:4]}


def test_the_same_face_in_another_process(named):
    """A worker process makes the same bytes."""
    case, engine = named
    if not case.invents:
        pytest.skip("its photos do not fit on a command line; its own tests do this")
    code = (
        "from pathlib import Path;"
        "from mien.core.digest import digest_bytes; from mien.core.expression import EXPRESSIONS;"
        "from mien.generators.engines import make_engine;"
        "from mien.generators.requests import plan_requests;"
        f"assets = Path({str(ASSETS)!r}) if {ASSETS is not None} else None;"
        f"e = make_engine({case.engine!r}, {dict(case.params)!r}, assets=assets);"
        "r = plan_requests(pool='p', pool_seed=4, expressions=EXPRESSIONS, identities=2);"
        "made = e.synthesise(list(r)[9:11]);"
        "print(*(digest_bytes(f.image.tobytes()) for f in made))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(digests(engine, plan()[9:11]).values())


def test_seed_identity_variation_and_expression_each_matter(named):
    """Changing one of them changes the picture."""
    case, engine = named
    if not case.invents:
        pytest.skip("the photo decides the identity")
    first = FaceRequest("a", 1, "000001", Expression.HAPPINESS, intensity=0.8)
    others = [
        FaceRequest("a", 2, "000001", Expression.HAPPINESS, intensity=0.8),
        FaceRequest("a", 1, "000002", Expression.HAPPINESS, intensity=0.8),
        FaceRequest("a", 1, "000001", Expression.HAPPINESS, intensity=0.8, variation=1),
        FaceRequest("a", 1, "000001", Expression.SADNESS, intensity=0.8),
    ]
    assert honours_intensity(engine) == case.intensity
    if case.intensity:
        others.append(FaceRequest("a", 1, "000001", Expression.HAPPINESS, intensity=0.3))
    pictures = [next(iter(engine.synthesise([r]))).image for r in (first, *others)]
    assert all((p != pictures[0]).any() for p in pictures[1:])


def test_the_digest_names_the_parameters(named):
    """Other parameters are another generator."""
    case, engine = named
    other = case.make(**case.other)
    assert other.digest != engine.digest
    assert engine.name == case.engine


def test_unknown_parameters_are_refused(named):
    """A typo is an error that names the key."""
    case, _ = named
    with pytest.raises(Invalid) as error:
        case.make(sizepx=64)
    assert "sizepx" in error.value.violations


def test_the_subject_is_kept(named, photo):
    """A face made from a person's photo carries that person; engines that invent take no photo."""
    case, engine = named
    if not case.photos:
        with pytest.raises(Invalid) as error:
            list(engine.synthesise(plan(photo)))
        assert error.value.reason == "SOURCE_UNUSED"
        return
    face = next(iter(engine.synthesise(plan(photo))))
    assert face.request.source is not None
    assert face.request.source.subject == "photos:one"

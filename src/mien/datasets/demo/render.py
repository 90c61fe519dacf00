"""Readers ``demo_lab``, ``demo_web``, ``demo_blind``: render people by index, endlessly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np

from mien.core.arrays import Float
from mien.core.digest import seed_of
from mien.core.errors import Invalid
from mien.core.expression import Expression
from mien.core.parallel import map_ordered
from mien.core.sample import Item, Sample
from mien.datasets.demo.anatomy import HiddenAnatomy, hidden_anatomy
from mien.datasets.demo.manners import show
from mien.datasets.demo.params import DemoParams
from mien.datasets.demo.people import Person, draw_person, move, person_seed
from mien.datasets.demo.pictures import develop, draw_scene, occlude
from mien.datasets.demo.shifts import Shift
from mien.datasets.demo.wrinkles import depths
from mien.datasets.reading import Source
from mien.imaging.encode import encode_png
from mien.morphable.render import Rendered, render

_POINT_NOISE = 0.008  # of annotated landmarks, as a fraction of the side
_CHUNK = 8  # people a process renders at a time
_WORTH_PROCESSES = 32  # people below this are sooner rendered in one


def read_demo(source: Source, shift: Shift) -> Iterator[Item]:
    """Render a database, person by person, in the order of their indices.

    Raises:
        Invalid: ``LABEL_NOISE`` when labels shall be wrong and there is only one.
    """
    params: DemoParams = source.params
    if params.label_noise and len(params.expressions) < 2:
        raise Invalid(
            "LABEL_NOISE",
            "labels can be wrong only among two expressions or more",
            hint="name more expressions, or set label_noise to 0",
        )
    workers = min(source.workers, -(-params.subjects // _CHUNK))
    if workers == 1 or params.subjects < _WORTH_PROCESSES:
        for index in _indices(params):
            yield from render_subject(shift, index, params)
    else:
        yield from _fanned_out(shift, params, workers)


def _indices(params: DemoParams) -> range:
    return range(params.first_subject, params.first_subject + params.subjects)


def _fanned_out(shift: Shift, params: DemoParams, workers: int) -> Iterator[Item]:
    """Render in processes, a bounded number of chunks ahead; the order stays."""
    every = _indices(params)
    chunks = (every[k : k + _CHUNK] for k in range(0, len(every), _CHUNK))
    render_chunk = partial(_render_chunk, shift, params)
    yield from chain.from_iterable(map_ordered(render_chunk, chunks, workers=workers))


def _render_chunk(shift: Shift, params: DemoParams, chunk: range) -> list[Item]:
    return [item for index in chunk for item in render_subject(shift, index, params)]


def render_subject(shift: Shift, index: int, params: DemoParams) -> list[Item]:
    """Render all pictures of one person; a function of its arguments alone.

    How many people, expressions or pictures are asked for changes no picture.

    Args:
        shift: the database.
        index: of the person, ≥ 0.
        params: expressions, pictures a cell, size, seed, label noise.
    """
    anatomy = hidden_anatomy()
    seed = person_seed(shift, params.seed, index)
    person = draw_person(anatomy, shift, seed)
    return [
        _picture(anatomy, shift, person, params, (index, seed, expression, take))
        for expression in params.expressions
        for take in range(params.images_per_cell)
    ]


def _picture(
    anatomy: HiddenAnatomy,
    shift: Shift,
    person: Person,
    params: DemoParams,
    cell: tuple[int, int, Expression, int],
) -> Item:
    index, seed, expression, take = cell
    rng = np.random.default_rng(seed_of(seed, "picture", expression, take))
    moment = float(rng.uniform(*shift.moment))
    units = show(person.style, expression, moment, anatomy.head.units, rng)
    drawn = _photograph(anatomy, shift, person, units, params.size_px, rng)
    image, before = occlude(develop(drawn.image, shift, rng), drawn.landmarks, shift, rng)
    noise = rng.normal(0.0, _POINT_NOISE * params.size_px, (68, 2))
    who = f"{index:04d}" if not params.seed else f"{params.seed}.{index:04d}"
    name = f"{who}/{expression}_{take}"
    attributes = {**person.attributes, "occlusion": before}
    if params.label_noise:
        attributes["shown"] = str(expression)
    sample = Sample(
        id=f"{shift.name}/{name}",
        source=shift.name,
        subject=f"{shift.name}:{who}",
        expression=_label(expression, params, seed, take),
        intensity=round(person.style.strength * moment, 4),
        file=f"{name}.png",
        attributes=attributes,
        landmarks=tuple(
            (round(x + float(dx), 2), round(y + float(dy), 2))
            for (x, y), (dx, dy) in zip(drawn.landmarks, noise, strict=True)
        ),
        width=params.size_px,
        height=params.size_px,
    )
    return Item(sample, encode_png(image))


def _photograph(
    anatomy: HiddenAnatomy,
    shift: Shift,
    person: Person,
    units: dict[str, float],
    size_px: int,
    rng: np.random.Generator,
) -> Rendered:
    shape = move(person, anatomy.head.offsets(units))
    shadow = np.tensordot(depths(units, person.age, person.tendency), person.patterns, 1)
    lit = 1.0 - np.minimum(shadow, 0.7)
    colours: Float = (person.colours * lit[:, None]).astype(np.float32)
    return render(anatomy.head, shape, colours, draw_scene(shift, size_px, rng), size_px)


def _label(expression: Expression, params: DemoParams, seed: int, take: int) -> Expression:
    if not params.label_noise:
        return expression
    rng = np.random.default_rng(seed_of(seed, "label", expression, take))
    if rng.uniform() >= params.label_noise:
        return expression
    others = [e for e in params.expressions if e != expression]
    return others[int(rng.integers(len(others)))]

"""No engine may know what the demo databases are made of.

The demo databases stand for real ones: if an engine could read their hidden anatomy or expression
style, synthetic data would help for a reason that no real database offers.
"""

import ast
from pathlib import Path

import grimp
import pytest

from mien.core.digest import seed_of
from mien.core.expression import EKMAN_SIX, EXPRESSIONS
from mien.datasets.demo import manners
from mien.datasets.demo.anatomy import SHAPE_MODES, hidden_anatomy
from mien.datasets.demo.people import person_seed
from mien.datasets.demo.shifts import SHIFTS
from mien.generators.engines import make_engine
from mien.generators.requests import plan_requests

SOURCE = Path(__file__).parents[2] / "src" / "mien"
HIDDEN = "mien.datasets.demo"


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("mien", cache_dir=None)


def test_only_the_reader_table_imports_the_demo_databases(graph):
    """Outside the databases themselves one module knows of them: the table of readers."""
    inside = {HIDDEN, *graph.find_descendants(HIDDEN)}
    importers = {
        importer
        for module in inside
        for importer in graph.find_modules_that_directly_import(module)
        if importer not in inside
    }
    assert importers == {"mien.datasets.table"}


@pytest.mark.parametrize(
    "room",
    ["generators", "morphable", "recognition", "evaluation", "registry", "splits", "imaging"],
)
def test_no_room_reaches_them_by_any_path(graph, room):
    """Not even through others: there is no chain of imports at all."""
    name = f"mien.{room}"
    for module in {name, *graph.find_descendants(name)}:
        for hidden in {HIDDEN, *graph.find_descendants(HIDDEN)}:
            assert graph.find_shortest_chain(module, hidden) is None, module


def test_no_engine_names_them_in_its_text():
    """Nor by a name in a string, which an import at run time could use."""
    for path in [*(SOURCE / "generators").rglob("*.py"), *(SOURCE / "morphable").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "datasets.demo" not in node.value, path
                assert "mien.datasets" not in node.value, path


def test_identities_of_databases_and_engines_are_disjoint():
    """Seeds are hashed with the database's name; no engine's request has one of them."""
    people = {
        person_seed(shift, seed, index)
        for shift in SHIFTS.values()
        for seed in range(3)
        for index in range(1000)
    }
    assert len(people) == 3 * 3 * 1000
    engine = make_engine("affect", {}, assets=None)
    requests = [
        request
        for seed in range(3)
        for request in plan_requests(
            pool="invented", pool_seed=seed, expressions=EKMAN_SIX, identities=300
        )
    ]
    asked = {r.seed for r in requests}
    identities = {seed_of(engine.digest, r.seed, r.identity) for r in requests}
    derived = {
        seed_of(use, s) for use in ("shape", "skin", "scene", "appearance") for s in identities
    }
    assert len(identities) >= 900
    assert not people & (asked | identities | derived | set(range(10_000)))


def test_expression_style_is_not_the_engines():
    """No manner of the databases is a prototype of a head, whatever the strength."""
    head = hidden_anatomy().head
    for expression in EXPRESSIONS:
        prototype = dict(head.prototype(expression))
        for manner in manners.MANNERS[expression]:
            if not prototype:
                continue
            spread = {
                side: weight
                for name, weight in manner.items()
                for side in ([name] if name in head.units else [f"{name}_L", f"{name}_R"])
            }
            ratios = {round(spread.get(n, 0.0) / w, 3) for n, w in prototype.items() if w}
            assert len(ratios) > 1 or set(spread) != set(prototype), expression


def test_hidden_shapes_lie_outside_the_head_models_space():
    """Most of what the hidden fields do, no identity of the head model can do."""
    import numpy as np

    anatomy = hidden_anatomy()
    face = anatomy.head.regions["face"] > 0.5
    basis = anatomy.head.identity_basis()[:, face].reshape(anatomy.head.identity_size, -1).T
    hidden = anatomy.shapes[:, face].reshape(SHAPE_MODES, -1).T
    fitted, *_ = np.linalg.lstsq(basis, hidden, rcond=None)
    left_over = np.linalg.norm(hidden - basis @ fitted, axis=0) / np.linalg.norm(hidden, axis=0)
    assert left_over.mean() > 0.6

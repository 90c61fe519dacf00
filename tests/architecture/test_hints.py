"""Whoever is told that something is wrong is told what to do about it."""

import ast
from pathlib import Path

import pytest

from mien.core.errors import ERRORS, invalid_fields

SOURCE = Path(__file__).parents[2] / "src" / "mien"
RAISED = {kind.__name__ for kind in ERRORS}
# What these refuse are arrays, arms and settings that other code of ours hands them, never what a
# user gave: the message tells the developer what is wrong, and there is nothing a user could do.
CALLED_BY_US = ("evaluation", "generators", "morphable")
# The same, one by one, in rooms that users reach.
DEVELOPERS_MISTAKES = {
    "stages/preprocess.py": {"NO_IMAGE"},
}


def _without_hint(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in RAISED
            and not any(keyword.arg in ("hint", None) for keyword in node.keywords)
        ):
            reason = node.args[0] if node.args else None
            yield reason.value if isinstance(reason, ast.Constant) else ast.unparse(node)


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(SOURCE.rglob("*.py")) if p.relative_to(SOURCE).parts[0] not in CALLED_BY_US],
    ids=lambda p: p.relative_to(SOURCE).as_posix(),
)
def test_every_error_says_what_to_do(path):
    """Each of the ten errors is raised with a hint."""
    allowed = DEVELOPERS_MISTAKES.get(path.relative_to(SOURCE).as_posix(), set())
    assert set(_without_hint(path)) <= allowed


def test_wrong_fields_have_a_hint_without_asking():
    """The error that names fields has one by itself."""
    assert invalid_fields("X", "it is wrong", {"a": "too large"}).hint

"""The engine table and generation in process."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mien.core.digest import digest_of
from mien.core.errors import Invalid, NotFound
from mien.core.expression import Expression
from mien.core.generation import FaceRequest, GeneratedFace, WantedFace
from mien.generators import engines
from mien.generators.engines import engine_names, make_engine
from mien.generators.local import LocalGeneration


class Echo:
    """A plug-in engine that makes nothing."""

    name = "echo"

    def __init__(self, digest: str) -> None:
        self.digest = digest

    @classmethod
    def from_params(cls, params: Mapping[str, Any], assets: Path | None) -> "Echo":
        """Be named after the parameters."""
        return cls(digest_of([dict(params), str(assets)]))

    def synthesise(self, requests: Iterable[FaceRequest]) -> Iterator[GeneratedFace]:
        """Answer with black squares."""
        return (GeneratedFace(r, np.zeros((4, 4, 3), np.uint8)) for r in requests)


def points(*names_and_values: tuple[str, str]) -> list[EntryPoint]:
    return [EntryPoint(n, v, engines.GROUP) for n, v in names_and_values]


@pytest.fixture
def plugin(monkeypatch):
    """An installation with one working and one broken plug-in."""
    module = ModuleType("echo_plugin")
    module.Echo = Echo
    monkeypatch.setitem(sys.modules, "echo_plugin", module)
    found = points(("echo", "echo_plugin:Echo"), ("broken", "no_such_module:Engine"))
    monkeypatch.setattr(
        engines, "entry_points", lambda group: found if group == engines.GROUP else []
    )


def test_affect_is_installed():
    """The package's own engine is found through its entry point."""
    assert "affect" in engine_names()


def test_an_unknown_engine_is_answered_with_the_known_ones():
    """The hint lists what there is."""
    with pytest.raises(NotFound) as error:
        make_engine("stylegan9", {})
    assert error.value.reason == "UNKNOWN_ENGINE"
    assert "affect" in error.value.hint


def test_others_can_plug_in(plugin):
    """An entry point of another package is an engine like ours."""
    assert engine_names() == ("broken", "echo")
    made = make_engine("echo", {"a": 1})
    assert made.digest == digest_of([{"a": 1}, "None"])


def test_a_broken_plugin_is_named(plugin):
    """It says which engine, and why."""
    with pytest.raises(Invalid, match=r"'broken'.*no_such_module"):
        make_engine("broken", {})


def test_wrong_parameters_name_every_key():
    """Unknown keys and values out of range are listed together."""
    with pytest.raises(Invalid) as error:
        make_engine("affect", {"size": 64, "noise": -1, "backend": "flame"})
    assert error.value.reason == "ENGINE_PARAMS"
    assert set(error.value.violations) == {"size", "noise", "backend"}


def test_ict_without_assets_says_what_is_missing():
    """The engine does not fall back to another head."""
    with pytest.raises(NotFound, match="ASSET_MISSING"):
        make_engine("affect", {"backend": "ict"}, assets=None)


def test_local_generation_builds_an_engine_once(plugin):
    """The same name and parameters give the same instance; other parameters another."""
    local = LocalGeneration()
    assert local.instance("echo", {"a": 1}) is local.instance("echo", {"a": 1})
    assert local.instance("echo", {"a": 1}) is not local.instance("echo", {"a": 2})


def test_local_generation_keeps_few_engines(plugin):
    """Whoever asks with many parameters fills no memory: the least used one goes."""
    local = LocalGeneration(kept=2)
    first = local.instance("echo", {"a": 0})
    local.instance("echo", {"a": 1})
    assert local.instance("echo", {"a": 0}) is first
    for a in range(2, 6):
        local.instance("echo", {"a": a})
    assert local.instance("echo", {"a": 0}) is not first


def test_plugins_are_described(plugin):
    """A foreign engine says what it is in its docstring; a broken one says why it is."""
    broken, echo = LocalGeneration().engines()
    assert (echo.name, echo.summary) == ("echo", "A plug-in engine that makes nothing.")
    assert not echo.trained
    assert "no_such_module" in broken.summary


def test_local_generation_answers_every_request_in_order(plugin):
    """One answer per request, with the row it has in a version."""
    asked = [FaceRequest(f"p/{i}", 3, "a", Expression.FEAR) for i in range(11)]
    made = list(LocalGeneration().make_faces("echo", {}, map(WantedFace, asked)))
    assert [face.item.sample.id for face in made] == [r.id for r in asked]
    assert {face.item.sample.source for face in made} == {"echo-3"}
    assert {face.item.sample.origin for face in made} == {"synthetic"}


def test_local_generation_refuses_before_the_first_face():
    """An unknown engine is an error of the call, not of the stream."""
    with pytest.raises(NotFound):
        LocalGeneration().make_faces("nothing", {}, [])

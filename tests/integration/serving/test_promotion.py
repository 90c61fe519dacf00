"""Promotion: what changes, in which order, and what does not when something fails."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from mien.adapters.serving.promotion import Promoter
from mien.adapters.triton.onnx_host import OnnxHost
from mien.core.errors import AlreadyExists, Conflict, Corrupt, NotFound, Unavailable, WrongState
from mien.core.serving import GateCheck
from mien.recognition.package import Golden, read_package, write_package
from tests.integration.serving.conftest import open_gate
from tests.integration.serving.tiny import tiny_package


def answers_as(promoter, seed_folder):
    """Whether the front answers as a package's model does."""
    golden = read_package(seed_folder).golden()
    said = promoter.host.infer("expression", golden.images, timeout_s=5)
    return golden.deviation(said) < 1e-5


def champion_alias(models):
    """The version that the registry names, or None."""
    try:
        return models.get("expression@champion").lineage.model_version
    except NotFound:
        return None


def test_a_promotion_serves_the_model_and_moves_the_alias(promoter, registered, tmp_path):
    """Front, alias and state name the new champion; the old one stays loaded."""
    first = promoter.promote("expression/1")
    assert (first.promoted, first.champion.name, first.previous) == (True, "expression/1", None)
    assert answers_as(promoter, tmp_path / "package1")
    second = promoter.promote("expression@challenger")
    assert (second.champion.name, second.previous.name) == ("expression/2", "expression/1")
    assert answers_as(promoter, tmp_path / "package2")
    assert champion_alias(registered) == "2"
    assert promoter.host.loaded() == ["expression", "expression-1", "expression-2"]
    assert len(second.repository_digest) == 64


def test_rolling_back_brings_the_earlier_one_and_only_once(promoter, registered, tmp_path):
    """After a rollback the model that was left is not 'earlier': it failed."""
    promoter.promote("expression/1")
    promoter.promote("expression/2")
    back = promoter.rollback()
    assert back.champion.name == "expression/1"
    assert champion_alias(registered) == "1"
    assert answers_as(promoter, tmp_path / "package1")
    with pytest.raises(WrongState, match="NO_EARLIER_CHAMPION"):
        promoter.rollback()


def test_a_refused_challenger_changes_nothing(registered, tmp_path):
    """The gate's words come back, and are noted on the version."""
    home = tmp_path / "serving"
    gate = [GateCheck("golden", True, "fine")]
    promoter = Promoter(home, registered, OnnxHost(home / "repository"), gate=lambda *_: gate)
    promoter.promote("expression/1")
    gate.append(GateCheck("ece", False, "0.3 is too much"))
    with pytest.raises(WrongState, match="too much") as refused:
        promoter.promote("expression/2")
    assert refused.value.reason == "GATE_REFUSED"
    assert champion_alias(registered) == "1"
    assert answers_as(promoter, tmp_path / "package1")
    said = promoter.promote("expression/2", dry_run=True)
    assert not said.promoted
    assert [c.passed for c in said.checks] == [True, False]


def test_without_gate_or_registry_nothing_is_promoted(registered, tmp_path):
    """Both are said, with what to do."""
    host = OnnxHost(tmp_path / "serving" / "repository")
    with pytest.raises(WrongState, match="NO_GATE"):
        Promoter(tmp_path / "serving", registered, host).promote("expression/1")
    with pytest.raises(WrongState, match="NO_MODEL_REGISTRY"):
        Promoter(tmp_path / "serving", None, host, gate=open_gate).promote("expression/1")


def test_a_model_that_answers_otherwise_than_its_golden_answers_is_not_promoted(
    promoter, registered, tmp_path
):
    """The host's own answers are compared: the old champion goes on."""
    promoter.promote("expression/1")
    good = tiny_package(tmp_path / "good", 3)
    golden = good.golden()
    wrong = Golden(golden.images, {k: v[::-1].copy() for k, v in golden.answers.items()})
    spec = replace(good.spec, trial="wrong")
    bad = write_package(
        tmp_path / "bad", spec, {"fp32": good.model().read_bytes()}, {"fp32": wrong}
    )
    registered.register("expression", bad.folder)
    with pytest.raises(Corrupt, match="GOLDEN_DIFFERS"):
        promoter.promote("expression/3")
    assert champion_alias(registered) == "1"
    assert answers_as(promoter, tmp_path / "package1")
    assert promoter.state.moving is None
    assert "expression-3" not in promoter.host.loaded()


def test_a_damaged_package_is_not_promoted(models, tmp_path):
    """A flipped byte in the registry's files is found before anything is loaded."""
    info = models.register("expression", tiny_package(tmp_path / "package5", 5).folder)
    host = OnnxHost(tmp_path / "serving" / "repository")
    promoter = Promoter(tmp_path / "serving", models, host, gate=open_gate)
    (file,) = tmp_path.glob("mlartifacts/models/*/artifacts/package/model.onnx")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Corrupt, match="MODEL_FILES"):
        promoter.promote(info.name)
    assert champion_alias(models) is None


class Fails:
    """A host that stops answering at the n-th call."""

    def __init__(self, host, calls):
        self.host, self.left = host, calls

    def __getattr__(self, name):
        real = getattr(self.host, name)

        def call(*given, **named):
            self.left -= 1
            if self.left == 0:
                raise Unavailable("TRITON_UNAVAILABLE", "gone")
            return real(*given, **named)

        return call


@pytest.mark.parametrize("at", range(1, 7))
def test_whenever_the_host_fails_the_old_one_serves(registered, tmp_path, at):
    """Load, golden inference, front: each may fail; alias, state and answers stay the old ones."""
    home = tmp_path / "serving"
    host = OnnxHost(home / "repository")
    promoter = Promoter(home, registered, host, gate=open_gate)
    promoter.promote("expression/1")
    promoter.host = Fails(host, at)
    try:
        promoter.promote("expression/2")
    except Unavailable:
        served, other = "1", "2"
    else:
        served, other = "2", "1"
    promoter.host = host
    assert champion_alias(registered) == served, other
    assert promoter.state.champion.version == served
    assert answers_as(promoter, tmp_path / f"package{served}")


def test_a_killed_promotion_is_dropped_before_the_alias_moved_and_finished_after(
    promoter, registered, tmp_path
):
    """The alias decides what a half promotion was."""
    promoter.promote("expression/1")
    promoter.promote("expression/2")
    two = promoter.state
    promoter.rollback()
    for alias, served in (("1", "1"), ("2", "2")):
        promoter.file.write(replace(promoter.state, moving=two.champion))
        now = champion_alias(registered)
        if now != alias:
            registered.move("expression", "champion", alias, expected=now)
        host = OnnxHost(promoter.repository)
        again = Promoter(promoter.home, registered, host, gate=open_gate)
        again.recover()
        assert again.state.champion.version == served
        assert again.state.moving is None
        assert answers_as(again, tmp_path / f"package{served}")


def test_a_new_folder_takes_over_the_registrys_champion(promoter, registered, tmp_path):
    """Another machine serves what the registry names."""
    promoter.promote("expression/2")
    home = tmp_path / "elsewhere"
    other = Promoter(home, registered, OnnxHost(home / "repository"), gate=open_gate)
    other.recover()
    assert other.state.champion.name == "expression/2"
    assert answers_as(other, tmp_path / "package2")


def test_an_alias_that_somebody_moved_is_a_conflict(promoter, registered):
    """A promotion that has not seen it changes nothing."""
    promoter.promote("expression/1")
    registered.move("expression", "champion", "2", expected="1")
    with pytest.raises(Conflict, match="ALIAS_MOVED"):
        promoter.promote("expression/2")
    assert promoter.state.champion.version == "1"


def test_a_request_is_answered_once(promoter):
    """The same id gives the same answer; for something else it is refused."""
    first = promoter.promote("expression/1", request_id="a")
    assert promoter.promote("expression/1", request_id="a").took_s == first.took_s
    with pytest.raises(AlreadyExists, match="REQUEST_ID_REUSED"):
        promoter.promote("expression/2", request_id="a")


def test_one_promotion_at_a_time(promoter):
    """The second is told so at once."""
    with promoter.file.promoting(), pytest.raises(Conflict, match="PROMOTION_RUNNING"):
        promoter.promote("expression/1")


def test_promoting_the_champion_again_changes_nothing(promoter):
    """It is asked whether it is so, not done twice."""
    promoter.promote("expression/1")
    again = promoter.promote("expression/1")
    assert (again.promoted, again.champion.name) == (False, "expression/1")
    assert promoter.state.earlier == ()


def test_a_damaged_folder_is_written_again_and_a_foreign_one_refused(
    promoter, registered, tmp_path
):
    """What a promoted model's folder should hold is known; another network is never put there."""
    promoter.promote("expression/1")
    promoter.promote("expression/2")
    folder = promoter.repository / "expression-1"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (folder / "1" / "model.onnx").write_bytes(b"")
    promoter.promote("expression/1")
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert answers_as(promoter, tmp_path / "package1")
    other = promoter.repository / "expression-2"
    shutil.rmtree(other)
    shutil.copytree(folder, other)
    with pytest.raises(Corrupt, match="OTHER_MODEL"):
        promoter.promote("expression/2")
    assert champion_alias(registered) == "1"

"""Promotion over several replicas: what happens in which order, and what when it fails."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mien.adapters.serving.cluster import ClusterPromoter, Pace
from mien.adapters.serving.local import LocalServing
from mien.adapters.serving.store import EMPTY, ModelStore
from mien.adapters.triton.fleet import TritonFleet
from mien.adapters.triton.rollout import TritonRollout
from mien.core.errors import AlreadyExists, Conflict, Corrupt, MienError, NotFound, WrongState
from mien.core.serving import GateCheck, Query
from mien.recognition.package import read_package
from tests.contract.test_serving_contract import face, png
from tests.integration.serving.conftest import open_gate
from tests.integration.serving.rollout_stand_in import Rollout, TritonLike, always_ready
from tests.integration.serving.test_promotion import champion_alias

WAIT_S = 60.0
PACE = Pace(look=0.1, beat=0.3, stale=WAIT_S, rollout=WAIT_S, names=WAIT_S)
WATCHFUL = replace(PACE, stale=1.0)  # takes over at once what is not its own
ROOT = Path(__file__).resolve().parents[3]


def until(holds, what="it never happened"):
    """Wait for something to hold."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Site:
    """A cluster of three replicas, a registry of two models, and as many promoters as are asked."""

    def __init__(self, folder, models, **given):
        self.folder, self.models = folder, models
        self.store = ModelStore(str(folder / "models"))
        self.rollout = Rollout(folder, **given)
        self.made = []

    def promoter(self, name, **given):
        """Another replica of the serving service."""
        fleet = TritonFleet("dns:///triton:8001", resolve=self.rollout.addresses)
        api = TritonRollout(
            "mien/triton", kubeconfig=self.rollout.kubeconfig, interval_s=0.05, away_s=10.0
        )
        given = {"gate": open_gate, "pace": PACE} | given
        made = ClusterPromoter(
            self.folder / name, self.models, fleet, api, ModelStore(self.store.url), **given
        )
        made.serving = LocalServing(made, fleet, self.models)
        made.recover()
        self.made.append(made)
        return made

    def answers(self, version, name="expression"):
        """Whether every replica answers as a version does."""
        golden = read_package(self.folder / f"package{version}").golden()
        fleet = TritonFleet("", resolve=self.rollout.addresses)
        known = fleet.refresh()
        wrong = fleet.ask_each(name, golden, timeout_s=5)
        fleet.close()
        return len(known) == self.rollout.object["spec"]["replicas"] and not wrong

    def close(self):
        for each in self.made:
            each.stop()
        self.rollout.close()


@pytest.fixture
def site(registered, tmp_path):
    """A cluster that has just been made."""
    made = Site(tmp_path, registered)
    yield made
    made.close()


@pytest.fixture
def promoter(site):
    """One replica of the serving service."""
    return site.promoter("serving")


def test_a_promotion_reaches_every_replica_before_the_alias_moves(site, promoter):
    """Rolled over to a prefix that was whole before; nobody who asks meanwhile is turned away."""
    first = promoter.promote("expression/1")
    assert (first.promoted, first.champion.name, first.previous) == (True, "expression/1", None)
    assert site.answers("1")
    asked, failed, over = [], [], threading.Event()

    def ask():
        while not over.is_set():
            try:
                found = promoter.serving.recognise(Query(png(face(1))))
                asked.append(found.lineage.model_version)
            except MienError as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    second = promoter.promote("expression@challenger")
    until(lambda: asked and asked[-1] == "2")
    over.set()
    asking.join()
    assert failed == []
    assert sorted(asked) == asked, "first the old one, then the new one, and never back"
    assert (second.champion.name, second.previous.name) == ("expression/2", "expression/1")
    assert champion_alias(site.models) == "2"
    assert site.rollout.models == site.store.address(second.repository_digest)
    assert site.answers("2")
    assert site.answers("2", "expression-2")
    assert site.answers("1", "expression-1"), "the one before it can answer at once again"
    assert site.rollout.journal == ""


def test_a_rollback_moves_the_alias_alone_and_the_front_follows(site, promoter):
    """Every replica has the old model loaded: no rollout stands before the answer."""
    promoter.promote("expression/1")
    promoter.promote("expression/2")
    before = site.rollout.object["metadata"]["generation"]
    patched = len([c for c in site.rollout.calls if c[2] and "spec" in c[2]])
    back = promoter.rollback()
    assert back.champion.name == "expression/1"
    assert champion_alias(site.models) == "1"
    assert promoter.serving.recognise(Query(png(face(1)))).lineage.model_version == "1"
    until(lambda: site.rollout.object["metadata"]["generation"] > before)
    until(lambda: site.rollout.settled() and site.answers("1") and not site.rollout.journal)
    assert len([c for c in site.rollout.calls if c[2] and "spec" in c[2]]) == patched + 1
    with pytest.raises(WrongState, match="NO_EARLIER_CHAMPION"):
        promoter.rollback()


def test_a_new_pod_that_never_gets_ready_leaves_the_old_ones_serving(site, promoter):
    """The rollout's own deadline ends it; patched back, and the alias never moved."""
    promoter.promote("expression/1")
    was = site.rollout.models
    site.rollout.object["spec"]["progressDeadlineSeconds"] = 1
    site.rollout.never_ready = lambda models: models != was
    with pytest.raises(WrongState, match="ProgressDeadlineExceeded") as failed:
        promoter.promote("expression/2")
    assert failed.value.reason == "ROLLOUT_FAILED"
    assert champion_alias(site.models) == "1"
    assert (site.rollout.models, site.rollout.journal) == (was, "")
    until(site.rollout.settled)
    assert site.answers("1")
    site.rollout.object["spec"]["progressDeadlineSeconds"] = 60
    site.rollout.never_ready = always_ready
    assert promoter.promote("expression/2").promoted


def test_one_replica_that_answers_wrong_stops_a_promotion(site, promoter):
    """A look at any one of them would not do: the golden question goes to each."""
    promoter.promote("expression/1")
    was, made = site.rollout.models, []

    def make(repository, address, _):
        pod = TritonLike(repository, address)
        made.append(pod)
        if len(made) == 2:
            pod.wrong = ("expression-2",)
        return pod

    site.rollout.make = make
    with pytest.raises(Corrupt, match="GOLDEN_DIFFERS"):
        promoter.promote("expression/2")
    assert champion_alias(site.models) == "1"
    assert site.rollout.models == was
    until(site.rollout.settled)
    assert site.answers("1")


def test_a_refused_challenger_is_not_even_uploaded(site):
    """The gate comes before anything that costs."""
    gate = [GateCheck("golden", True, "fine")]
    promoter = site.promoter("serving", gate=lambda *_: gate)
    promoter.promote("expression/1")
    gate.append(GateCheck("ece", False, "0.3 is too much"))
    stored = sorted((site.folder / "models").iterdir())
    with pytest.raises(WrongState, match="GATE_REFUSED"):
        promoter.promote("expression/2")
    said = promoter.promote("expression/2", dry_run=True)
    assert (said.promoted, [c.passed for c in said.checks]) == (False, [True, False])
    assert sorted((site.folder / "models").iterdir()) == stored
    assert (champion_alias(site.models), site.rollout.journal) == ("1", "")


def test_two_promoters_at_once_are_one_and_a_refusal(site, promoter):
    """Whichever replica of the service is asked: the Deployment holds the only right."""
    other = site.promoter("other")
    promoter.promote("expression/1")
    was = site.rollout.models
    site.rollout.never_ready = lambda models: models != was
    done = []
    thread = threading.Thread(target=lambda: done.append(promoter.promote("expression/2")))
    thread.start()
    until(lambda: site.rollout.models != was)
    with pytest.raises(Conflict, match="PROMOTION_RUNNING"):
        other.promote("expression/1")
    with pytest.raises(Conflict, match="PROMOTION_RUNNING"):
        other.rollback()
    site.rollout.never_ready = always_ready
    thread.join(WAIT_S)
    assert done[0].champion.name == "expression/2"
    until(lambda: other.state.champion and other.state.champion.version == "2")
    assert other.serving.recognise(Query(png(face(1)))).lineage.model_version == "2"


PROMOTE = """
import sys
from pathlib import Path
from mien.adapters.mlflow.models import MlflowModels
from mien.adapters.serving.cluster import ClusterPromoter, Pace
from mien.adapters.serving.store import ModelStore
from mien.adapters.triton.fleet import TritonFleet
from mien.adapters.triton.rollout import TritonRollout
from mien.core.serving import GateCheck

home, kubeconfig, models, tracking, fleet = sys.argv[1:]
ClusterPromoter(
    Path(home), MlflowModels(tracking), TritonFleet(fleet),
    TritonRollout("mien/triton", kubeconfig=Path(kubeconfig), interval_s=0.05),
    ModelStore(models), gate=lambda *_: (GateCheck("golden", True, "not looked at"),),
    pace=Pace(look=0.1, beat=0.3, stale=2.0),
).promote("expression/2")
"""


def test_what_a_killed_promoter_left_another_replica_drops(site, promoter, tmp_path):
    """SIGKILL in the middle of the rollout: nobody beats any more, and the old models come back."""
    promoter.promote("expression/1")
    was = site.rollout.models
    site.rollout.never_ready = lambda models: models != was
    rest = (site.rollout.kubeconfig, site.store.url, f"sqlite:///{tmp_path}/mlflow.db")
    fleet = "ipv4:" + ",".join(site.rollout.addresses())
    command = [sys.executable, "-c", PROMOTE, str(tmp_path / "killed"), *map(str, rest), fleet]
    with subprocess.Popen(command, cwd=ROOT) as process:
        until(lambda: site.rollout.models != was or process.poll() is not None)
        assert process.poll() is None
        process.kill()
    assert json.loads(site.rollout.journal)["version"] == "2"
    other = site.promoter("other", pace=WATCHFUL)
    until(lambda: not site.rollout.journal, "nobody took over")
    other.stop()
    assert site.rollout.models == was
    site.rollout.never_ready = always_ready
    until(site.rollout.settled)
    assert champion_alias(site.models) == "1"
    assert site.answers("1")
    assert promoter.promote("expression/2").promoted


def test_what_was_killed_behind_the_alias_is_finished(site, promoter):
    """The alias had moved: the journal goes, and the new model stays."""
    promoter.promote("expression/1")
    promoter.promote("expression/2")
    name = site.rollout.models.rpartition("/")[2]
    left = {"owner": "dead", "beat": 7, "version": "2", "name": name, "before": EMPTY}
    site.rollout.patch({"metadata": {"annotations": {"mien/promotion": json.dumps(left)}}})
    site.promoter("other", pace=WATCHFUL)
    until(lambda: not site.rollout.journal, "nobody took over")
    assert site.rollout.models.endswith(name)
    assert site.answers("2")
    assert champion_alias(site.models) == "2"


def test_a_new_cluster_serves_the_registrys_champion(site, registered):
    """The Deployment starts from `empty`; the first look brings it to the alias."""
    registered.move("expression", "champion", "2", expected=None)
    site.rollout.never_ready = lambda models: not models.endswith(EMPTY)
    promoter = site.promoter("serving")
    until(lambda: site.rollout.models not in ("", site.store.address(EMPTY)))
    assert promoter.serving.problem() is not None, "not before its champion answers"
    site.rollout.never_ready = always_ready
    until(lambda: promoter.state.champion is not None)
    until(lambda: promoter.problem() is None and not site.rollout.journal)
    assert site.answers("2")
    assert promoter.serving.problem() is None


def test_a_cluster_without_a_champion_waits_for_one(site, promoter):
    """Just applied, Triton is told of an empty repository.

    The service is ready: it could not be asked for the first promotion otherwise.
    """
    until(lambda: site.rollout.models == site.store.address(EMPTY) and site.rollout.settled())
    until(lambda: promoter.problem() is None)
    assert promoter.serving.problem() is None
    with pytest.raises(WrongState, match="NO_CHAMPION"):
        promoter.serving.recognise(Query(png(face(1))))


def test_an_alias_that_somebody_moved_is_a_conflict_and_undone(site, promoter):
    """Moved while the replicas were rolled over: the promotion goes back."""
    promoter.promote("expression/1")
    was = site.rollout.models
    site.rollout.never_ready = lambda models: models != was
    failed = []

    def promote():
        with contextlib.suppress(Conflict):
            promoter.promote("expression/2")
            failed.append("it was promoted")

    thread = threading.Thread(target=promote)
    thread.start()
    until(lambda: site.rollout.models != was)
    site.models.register("expression", third(site).folder)
    site.models.move("expression", "champion", "3", expected="1")
    site.rollout.never_ready = always_ready
    thread.join(WAIT_S)
    assert failed == []
    assert site.rollout.models == was
    assert promoter.state.champion.version == "1", "what is not hosted is not followed"


def third(site):
    from tests.integration.serving.tiny import tiny_package

    return tiny_package(site.folder / "package3", 3)


def test_a_request_is_answered_once_whichever_replica_is_asked(site, promoter):
    """The same id gives the same answer; for something else it is refused."""
    first = promoter.promote("expression/1", request_id="a")
    other = site.promoter("other")
    assert other.promote("expression/1", request_id="a").took_s == first.took_s
    with pytest.raises(AlreadyExists, match="REQUEST_ID_REUSED"):
        other.promote("expression/2", request_id="a")
    again = other.promote("expression/1")
    assert (again.promoted, again.champion.name) == (False, "expression/1")


def test_a_cluster_that_is_away_is_waited_for_and_refusals_are_told(site, promoter):
    """503s in between change nothing; forbidden and missing say what to do."""
    site.rollout.away = 3
    assert promoter.promote("expression/1").promoted
    site.rollout.forbidden = 'deployments.apps "triton" is forbidden: User cannot patch'
    with pytest.raises(MienError, match="CLUSTER_FORBIDDEN") as refused:
        promoter.promote("expression/2")
    assert "access.yaml" in refused.value.hint
    site.rollout.forbidden = ""
    with pytest.raises(NotFound, match="DEPLOYMENT_MISSING"):
        TritonRollout("mien/other", kubeconfig=site.rollout.kubeconfig).look()
    assert champion_alias(site.models) == "1"
    assert promoter.serving.recognise(Query(png(face(1)))).lineage.model_version == "1"

"""The same with Triton itself: three of them, started as the manifest says."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mien.core.errors import MienError, WrongState
from mien.core.serving import Query
from tests.contract.test_serving_contract import face, png
from tests.integration.serving.conftest import TRITON, needs_triton
from tests.integration.serving.rollout_stand_in import TritonPod
from tests.integration.serving.test_promotion import champion_alias
from tests.integration.serving.test_rollout import Site, until

pytestmark = [needs_triton, pytest.mark.slow]


@pytest.fixture
def site(registered, tmp_path):
    """A cluster whose Pods are Triton."""

    def make(repository, address, arguments):
        return TritonPod(TRITON, repository, address, arguments, tmp_path)

    made = Site(tmp_path, registered, make=make)
    made.rollout.object["spec"]["progressDeadlineSeconds"] = 600
    yield made
    made.close()


def test_three_tritons_are_rolled_over_and_rolled_back(site):
    """From nothing to a first and a second champion, while somebody asks; then back at once."""
    promoter = site.promoter("serving")
    promoter.promote("expression/1")
    assert site.answers("1")
    asked, failed, over = [], [], threading.Event()

    def ask():
        while not over.wait(0.02):
            try:
                found = promoter.serving.recognise(Query(png(face(1))))
                asked.append(found.lineage.model_version)
            except MienError as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    promoter.promote("expression/2")
    until(lambda: asked and asked[-1] == "2")
    assert site.answers("2")
    assert site.answers("1", "expression-1")
    promoter.rollback()
    until(lambda: asked[-1] == "1")
    until(lambda: site.rollout.settled() and site.answers("1") and not site.rollout.journal)
    over.set()
    asking.join()
    assert failed == []
    assert champion_alias(site.models) == "1"


def test_a_triton_that_refuses_a_model_leaves_the_old_ones_serving(site):
    """A damaged file below the new prefix: the new Pod never gets ready."""
    promoter = site.promoter("serving")
    promoter.promote("expression/1")
    site.rollout.object["spec"]["progressDeadlineSeconds"] = 10
    keep = promoter.store.keep

    def damaged(folder, catalogue):
        name = keep(folder, catalogue)
        file = Path(promoter.store.url) / name / "expression-2" / "2" / "model.onnx"
        with file.open("r+b") as data:
            data.seek(100)
            data.write(os.urandom(8))
        return name

    promoter.store.keep = damaged
    with pytest.raises(WrongState, match="ROLLOUT_FAILED"):
        promoter.promote("expression/2")
    assert champion_alias(site.models) == "1"
    assert site.answers("1")

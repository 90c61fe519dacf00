"""The Serving port: in this process, and over the wire from a real server."""

from __future__ import annotations

import io
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image

from mien.adapters.serving.local import LocalServing
from mien.adapters.serving.promotion import Promoter
from mien.adapters.triton.onnx_host import OnnxHost
from mien.core.errors import AlreadyExists, Invalid, NotFound, Unavailable, WrongState
from mien.core.expression import EKMAN_SIX
from mien.core.serving import Query, Recognition, Refusal
from mien.settings import Settings
from mien.wire.channel import open_channel
from mien.wire.serving_client import ServingClient
from services.chassis.testing import running
from services.serving.mount import mounted
from tests.integration.serving.conftest import (  # noqa: F401  fixtures
    known_models,
    models,
    open_gate,
    registered,
)
from tests.integration.serving.tiny import SIDE, tiny_package


def png(pixels):
    """Encode pixels as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def face(seed, side=SIDE):
    """Some picture."""
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


@pytest.fixture
def local(registered, tmp_path):  # noqa: F811
    """Serving in this process."""
    home = tmp_path / "serving"
    host = OnnxHost(home / "repository")
    return LocalServing(Promoter(home, registered, host, gate=open_gate), host, registered)


@pytest.fixture(params=["in process", "over the wire"])
def serving(request, local):
    """Both implementations of the port."""
    if request.param == "in process":
        yield local
        return
    with ExitStack() as stack:
        target = stack.enter_context(running("serving", mounted(local)))
        yield ServingClient(stack.enter_context(open_channel(target, Settings())))


@pytest.fixture
def ready(serving):
    """Serving with a champion."""
    serving.promote("expression/1")
    return serving


def test_a_picture_is_judged_as_the_network_judges_it(ready, tmp_path):
    """Probabilities are the model's own to the pixels; box, label and lineage are said."""
    pixels = tiny_package(tmp_path / "same", 1).golden().images[0]
    want = tiny_package(tmp_path / "same2", 1).golden().answers["probabilities"][0]
    found = ready.recognise(Query(png(pixels), id="one"))
    assert found.id == "one"
    (one,) = found.faces
    got = [one.probabilities[e] for e in EKMAN_SIX]
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert one.expression == EKMAN_SIX[int(want.argmax())]
    assert (one.box.left, one.box.top, one.box.width, one.box.height) == (0, 0, SIDE, SIDE)
    assert (one.detection_score, one.abstained, one.affect) == (1.0, False, None)
    lineage = found.lineage
    assert (lineage.model, lineage.model_version) == ("expression", "1")
    assert lineage.dataset_digest == "rows-1"
    assert len(lineage.model_digest) == len(lineage.preprocess_digest) == 64
    assert lineage.run_id


def test_below_the_threshold_the_answer_abstains(ready):
    """The probabilities are still given; the label is not."""
    (sure,) = ready.recognise(Query(png(face(1)), threshold=0.0)).faces
    (unsure,) = ready.recognise(Query(png(face(1)), threshold=1.0)).faces
    assert sure.expression is not None
    assert (unsure.expression, unsure.abstained) == (None, True)
    assert unsure.probabilities == sure.probabilities


def test_a_bad_picture_is_the_callers_mistake(ready):
    """Reason IMAGE, and what exactly is wrong with it."""
    for data in (b"", b"no picture", png(face(1))[:60]):
        with pytest.raises(Invalid) as refused:
            ready.recognise(Query(data))
        assert refused.value.reason == "IMAGE"
        assert refused.value.hint
        assert refused.value.details["image"]


def test_a_stream_answers_in_order_and_survives_bad_pictures(ready):
    """Every picture has its answer in its place."""
    queries = [
        Query(b"bad" if i % 3 == 1 else png(face(i)), id=str(i), threshold=0.0) for i in range(20)
    ]
    answers = list(ready.recognise_stream(iter(queries)))
    assert [a.id for a in answers] == [str(i) for i in range(20)]
    for i, answer in enumerate(answers):
        assert isinstance(answer, Refusal if i % 3 == 1 else Recognition)
    alone = ready.recognise(queries[3])
    assert answers[3] == alone


def test_a_stream_answers_before_the_next_picture_comes(ready):
    """A caller may wait for each answer before it sends the next picture."""
    answered = threading.Semaphore(1)

    def one_by_one():
        for i in range(5):
            assert answered.acquire(timeout=20)
            yield Query(png(face(i)), id=str(i))

    for count, answer in enumerate(ready.recognise_stream(one_by_one())):
        assert answer.id == str(count)
        answered.release()
    assert count == 4


def test_without_a_champion_nothing_is_recognised(serving):
    """It is said at once, for a stream as well."""
    with pytest.raises(WrongState, match="NO_CHAMPION"):
        serving.recognise(Query(png(face(1))))
    with pytest.raises(WrongState, match="NO_CHAMPION"):
        list(serving.recognise_stream([Query(png(face(1)))]))


def test_promotion_and_rollback(serving):
    """Champion, previous, checks; dry runs and repeated requests change nothing."""
    dry = serving.promote("expression/1", dry_run=True)
    assert (dry.champion, dry.promoted, len(dry.checks)) == (None, False, 1)
    serving.promote("expression/1")
    made = serving.promote("expression@challenger", request_id="r")
    assert (made.champion.name, made.previous.name) == ("expression/2", "expression/1")
    assert (made.champion.loaded, made.previous.loaded) == (True, True)
    assert set(made.champion.aliases) == {"champion", "challenger"}
    assert serving.promote("expression@challenger", request_id="r") == made
    with pytest.raises(AlreadyExists, match="REQUEST_ID_REUSED"):
        serving.promote("expression/1", request_id="r")
    assert serving.recognise(Query(png(face(1)))).lineage.model_version == "2"
    assert serving.rollback().champion.name == "expression/1"
    assert serving.recognise(Query(png(face(1)))).lineage.model_version == "1"
    with pytest.raises(WrongState, match="NO_EARLIER_CHAMPION"):
        serving.rollback()


def test_models_are_listed_and_read(ready):
    """Newest first; what is unknown is not found."""
    assert [m.name for m in ready.models()] == ["expression/2", "expression/1"]
    one = ready.model("expression@champion")
    assert (one.name, one.loaded, one.size_px) == ("expression/1", True, SIDE)
    assert one.expressions == EKMAN_SIX
    assert one.figures == {"accuracy": 0.5}
    assert one.created is not None
    assert not ready.model("expression/2").loaded
    for name in ("expression/99", "expression@nobody", "nobody/1"):
        with pytest.raises(NotFound, match="UNKNOWN_MODEL"):
            ready.model(name)
    with pytest.raises(Invalid, match="MODEL_NAME"):
        ready.model("../../etc")


def test_a_host_that_is_gone_is_unavailable(ready, local):
    """With when to come back; nothing hangs."""
    local.host.unload("expression-1")
    with pytest.raises(Unavailable, match="TRITON_UNAVAILABLE") as gone:
        ready.recognise(Query(png(face(1))))
    assert float(gone.value.details["retry_after_s"]) > 0


def test_an_impossible_threshold_is_refused():
    """Before anything is sent."""
    with pytest.raises(Invalid, match="THRESHOLD"):
        Query(b"", threshold=1.5)


def test_recognising_goes_on_while_champions_change(ready):
    """Not one call fails during promotions and rollbacks; each answer is of one of the two."""
    versions, failures, over = [], [], threading.Event()

    def ask():
        while not over.is_set():
            try:
                versions.append(ready.recognise(Query(png(face(1)))).lineage.model_version)
            except Exception as error:  # noqa: BLE001
                failures.append(error)
            time.sleep(0.001)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(3):
            ready.promote("expression/2")
            ready.rollback()
    finally:
        over.set()
        thread.join()
    assert not failures
    assert set(versions) <= {"1", "2"}
    assert len(versions) > 5

"""What rules and dashboard ask for is what our services, or Triton, tell."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mien.core.jobs import JobState
from services.chassis.lanes import Lane
from services.chassis.metrics import Metrics
from services.chassis.policy import POLICIES
from services.chassis.settings import PORTS
from tests.observability.monitoring import alerts, dashboard, names, queries, records, selectors

# Of Triton's documentation of its metrics; the end-to-end test reads them from a Triton.
TRITON = {"nv_inference_count", "nv_inference_queue_duration_us", "nv_inference_request_success"}
LANES = ("calls", "streams", "watches")


@pytest.fixture(scope="module")
def told():
    """Every sample of a server that has just started: name → label → values."""
    metrics = Metrics()
    metrics.expect(POLICIES)
    lanes = [Lane(name, 1, 0) for name in LANES]
    for lane in lanes:
        metrics.lane(lane)
    metrics.jobs(dict)
    metrics.queue("triton", lambda: 0)
    metrics.drift(lambda name: {"features" if name in ("distance", "limit") else "m-1": 0.0})
    metrics.call_ended(next(iter(POLICIES)), "OK", 0.1)
    metrics.faces_generated("noise")
    port, close = metrics.serve("127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
    finally:
        close()
        for lane in lanes:
            lane.close()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.mark.parametrize("alert", alerts(), ids=lambda rule: rule["alert"])
def test_alerts_name_what_is_told(told, alert):
    """Names, and the values of the labels they pick; what was never counted is there as zero."""
    assert names(alert["expr"]) <= {*told, *TRITON}
    expressions = [alert["expr"], *(e for n, e in records().items() if n in alert["expr"])]
    recorded = {"mien:calls:rate5m": "mien_calls_total"}
    for metric, label, values in (s for e in expressions for s in selectors(e)):
        if label == "service":
            assert set(values) <= {*PORTS, "triton"}
        elif metric == "mien:call_seconds:p99":
            assert set(values) <= set(POLICIES)
        else:
            assert set(values) <= told[recorded.get(metric, metric)][label], alert["alert"]


@pytest.mark.parametrize(("title", "query"), queries(), ids=lambda text: text[:40])
def test_the_dashboard_names_what_is_told(told, title, query):
    """Every query of every panel."""
    assert names(query) <= {*told, *TRITON}, title


def test_jobs_of_no_state_are_told_as_none(told):
    """An alert on failed jobs needs the time when there were none."""
    assert told["mien_jobs"]["state"] == set(JobState.__args__)


def test_grafana_can_read_the_dashboard():
    """The fields it asks for; ids and places of panels are their own; one choice of source."""
    found = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(found)
    assert found["schemaVersion"] >= 36
    assert len(found["uid"]) <= 40
    assert [v["name"] for v in found["templating"]["list"] if v["type"] == "datasource"] == [
        "datasource"
    ]
    panels = found["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = set()
    for panel in panels:
        assert {"id", "title", "type", "gridPos", "datasource", "targets", "fieldConfig"} <= set(
            panel
        )
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= 24
        cells = {
            (x, y)
            for x in range(where["x"], where["x"] + where["w"])
            for y in range(where["y"], where["y"] + where["h"])
        }
        assert not cells & taken
        taken |= cells
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        assert all(target["expr"].strip() for target in panel["targets"])

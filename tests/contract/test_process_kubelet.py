"""The node of our own, in so far as it can be asked without an API server."""

import ssl
import threading
import urllib.error
import urllib.request

import pytest

from tests.contract.cluster_certificates import Certificates
from tests.contract.control_plane import NEEDS, SINCE, VARIABLE, ControlPlane, missing
from tests.contract.kubelet_container import (
    CannotStart,
    environment,
    expand,
    field_of,
    only_container,
    words,
)
from tests.contract.kubelet_logs import log_server

INDEX = "metadata.annotations['a/index']"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(A)$(A)", "11"), ("", "")],
)
def test_references_are_filled_in_as_kubernetes_does(text, wanted):
    """Known names are replaced, unknown ones stay, two dollars are one."""
    assert expand(text, {"A": "1"}) == wanted


def test_the_environment_of_a_container():
    """ConfigMaps first, then its own; fields of the Pod; earlier names may be used by later."""
    pod = {"metadata": {"name": "p", "annotations": {"a/index": "7"}}, "spec": {"nodeName": "n"}}
    container = {
        "command": ["run"],
        "args": ["$(INDEX)", "$(BOTH)"],
        "envFrom": [
            {"configMapRef": {"name": "words"}},
            {"configMapRef": {"name": "gone", "optional": True}},
        ],
        "env": [
            {"name": "INDEX", "valueFrom": {"fieldRef": {"fieldPath": INDEX}}},
            {"name": "FLAVOUR", "value": "lime"},
            {"name": "BOTH", "value": "$(FLAVOUR)-$(INDEX)"},
        ],
    }
    maps = {"words": {"FLAVOUR": "mint", "OTHER": "x"}}
    env = environment(pod, container, maps.get)
    assert env == {"INDEX": "7", "FLAVOUR": "lime", "BOTH": "lime-7", "OTHER": "x"}
    assert words(container, env) == ["run", "7", "lime-7"]
    assert field_of(pod, "spec.nodeName") == "n"
    assert field_of(pod, "status.podIP") == ""


def test_what_is_not_there_keeps_a_container_waiting():
    """A missing ConfigMap, and a Pod of two containers, in a kubelet's words."""
    container = {"envFrom": [{"configMapRef": {"name": "gone"}}]}
    with pytest.raises(CannotStart) as caught:
        environment({"metadata": {}}, container, {}.get)
    assert caught.value.reason == "CreateContainerConfigError"
    with pytest.raises(CannotStart):
        only_container({"spec": {"containers": [{}, {}]}})


def test_logs_are_for_the_api_server_alone(tmp_path):
    """Whoever has no certificate of the authority is not answered; tails are tails."""
    certificates = Certificates(tmp_path)
    logs = {("a", "p"): b"one\ntwo\nthree\n"}
    server = log_server(
        lambda namespace, name: logs.get((namespace, name)),
        certificates.issue("node"),
        certificates.authority,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        known = ssl.create_default_context(cafile=str(certificates.authority))
        known.load_cert_chain(*map(str, certificates.issue("api")))
        at = f"https://127.0.0.1:{server.server_port}/containerLogs/a"

        def ask(path, context):
            url = f"{at}/{path}"
            with urllib.request.urlopen(url, context=context, timeout=60) as answer:  # noqa: S310
                return answer.read()

        assert ask("p/worker?tailLines=2", known) == b"two\nthree\n"
        with pytest.raises(OSError, match="404"):
            ask("q/worker", known)
        stranger = ssl.create_default_context(cafile=str(certificates.authority))
        with pytest.raises((ssl.SSLError, ConnectionError, urllib.error.URLError)):
            ask("p/worker", stranger)
    finally:
        server.shutdown()
        server.server_close()


def test_without_binaries_it_says_which_are_missing(tmp_path, monkeypatch):
    """The variable is not set, or its folder lacks something."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert VARIABLE in missing()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / "etcd").touch(mode=0o755)
    assert "kube-apiserver" in missing()
    assert " etcd" not in missing().partition("lacks")[2]


def test_what_an_older_server_lacks_is_skipped_by_name():
    """Every feature that a test of the contract asks for is one whose age is known."""
    assert {f for features in NEEDS.values() for f in features} <= set(SINCE)
    plane = object.__new__(ControlPlane)
    plane.version, plane.git_version = (1, 20), "v1.20.2"
    with pytest.raises(pytest.skip.Exception, match=r"v1\.20\.2 has no podFailurePolicy"):
        plane.needs("podFailurePolicy")
    plane.version = (1, 36)
    plane.needs(*SINCE)

"""What the pages tell people to type at the services works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import json_format, message_factory
from grpc_health.v1 import health_pb2

from mien.wire.channel import methods
from services.chassis.settings import PORTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/howto/services.md", "README.md")
LINE = re.compile(
    r"^grpcurl -plaintext -d (?P<data>'.*'|\".*\") 127\.0\.0\.1:(?P<port>\d+) (?P<method>\S+)$",
    re.M,
)
CALLS = [
    pytest.param(*match.group("data", "port", "method"), id=match["method"])
    for page in PAGES
    for match in LINE.finditer((ROOT / page).read_text())
]
KNOWN = {f"{service}/{m.name}": m.input_type for service, m in methods()} | {
    "grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest.DESCRIPTOR
}


def test_there_is_a_line_for_each_service():
    """In the README, too."""
    for page in PAGES:
        told = {m["method"].split(".")[2] for m in LINE.finditer((ROOT / page).read_text())}
        assert told >= set(PORTS), page


@pytest.mark.parametrize(("data", "port", "method"), CALLS)
def test_a_line_is_a_call(data, port, method):
    """The method exists at that port, and takes what is sent."""
    text = data[1:-1]
    if data[0] == '"':
        text = re.sub(r"\$\(.*?\)", "aGVsbG8=", text.replace('\\"', '"'))
    message = message_factory.GetMessageClass(KNOWN[method])()
    json_format.Parse(text, message)
    service = method.split(".")[2]
    assert service == "v1" or PORTS[service] == int(port)

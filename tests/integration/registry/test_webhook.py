"""The registry tells an address what is new: over real HTTP, in the background, signed."""

from __future__ import annotations

import json

import pytest

from mien.core.errors import Invalid, NotFound
from mien.core.manifest import Provenance
from mien.registry.folder_registry import FolderRegistry
from services.registry.servicer import RegistryServicer
from services.registry.webhook import EVENT, SIGNATURE, Event, Webhook, open_webhook, signature
from tests.contract.registry_faces import faces
from tests.integration.retrain.listener import listening

SECRET = b"between us"
NEW = Event("version", "faces", "a" * 64)


@pytest.fixture
def server():
    """A server that is told."""
    with listening() as heard:
        heard.answers[("POST", "/")] = {}
        yield heard


def test_an_event_is_posted_signed_as_a_repository_dispatch(server, tmp_path):
    """Body, signature and token as the receiver checks them; secrets come by file."""
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    (tmp_path / "token").write_text("t0ken\n")
    tell, close = open_webhook(f"{server.url}/", tmp_path / "secret", tmp_path / "token")
    tell(NEW)
    ((method, _, headers, body),) = server.wait_for(1)
    close(60.0)
    assert method == "POST"
    assert headers[SIGNATURE] == signature(SECRET, body) != signature(b"another", body)
    assert headers["Authorization"] == "Bearer t0ken"
    told = json.loads(body)
    assert told["event_type"] == EVENT
    assert told["client_payload"]["dataset"] == f"faces=faces@{'a' * 64}"


def test_a_server_in_trouble_is_told_again_in_order(server):
    """Until it has heard; what comes after waits."""
    server.answers[("POST", "/")] = [(503,), (503,), ({},)]
    hook = Webhook(f"{server.url}/", pauses_s=(0.01, 0.01, 0.01))
    hook.tell(NEW)
    hook.tell(Event("alias", "faces", "b" * 64, "production"))
    bodies = [json.loads(body)["client_payload"] for *_, body in server.wait_for(4)]
    hook.close(60.0)
    assert [b["kind"] for b in bodies] == ["version", "version", "version", "alias"]
    assert bodies[-1]["alias"] == "production"


def test_nobody_waits_for_an_address_that_is_away():
    """Telling returns at once, closing within its time; the next event is tried all the same."""
    hook = Webhook("http://127.0.0.1:9/", pauses_s=(600.0,))
    for _ in range(2000):  # more than may wait
        hook.tell(NEW)
    hook.close(0.01)
    hook._thread.join(60.0)
    assert not hook._thread.is_alive()


def test_versions_and_aliases_are_told_by_the_service(server, tmp_path):
    """Committed and moved, never what was refused."""
    from mien.api.registry.v1 import registry_pb2 as pb

    registry = FolderRegistry(tmp_path / "registry")
    made = registry.create("faces", faces(3), provenance=Provenance("test", {}), licences={})
    told = []
    servicer = RegistryServicer(registry, (), told.append)
    with pytest.raises(NotFound):
        servicer.SetAlias(pb.SetAliasRequest(name="faces", alias="a", reference="none@x"), None)
    request = pb.SetAliasRequest(name="faces", alias="production", reference=made.digest)
    servicer.SetAlias(request, None)
    assert told == [Event("alias", "faces", made.digest, "production")]


def test_what_cannot_be_told_is_refused_at_the_start(tmp_path):
    """A wrong address, a secret that is not there."""
    with pytest.raises(Invalid, match="WEBHOOK_URL"):
        open_webhook("ftp://there", None, None)
    with pytest.raises(NotFound, match="WEBHOOK_FILE"):
        open_webhook("http://127.0.0.1:9/", tmp_path / "none", None)

"""TLS, with certificates made here: of the server, and of its clients."""

from __future__ import annotations

import datetime
import ipaddress
import logging

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc
from mien.core.errors import Invalid
from services.chassis.readiness import LIVENESS
from services.chassis.settings import load_settings
from services.chassis.testing import framed
from tests.integration.chassis.fake_registry import mounting

GET = pb.GetVersionRequest(reference="a")


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder, name="test authority"):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = self._sign(self.name, self.key, authority=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name):
        """Return the files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = self._sign(subject, key)
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _sign(self, subject, key, *, authority=False):
        now = datetime.datetime.now(datetime.UTC)
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def tls(authority):
    """Settings of a server with a certificate."""
    cert, key = authority.issue("server")
    return {"tls_cert_file": cert, "tls_key_file": key}


def ask(target, authority, client=None):
    """Ask once over TLS."""
    cert, key = (None, None) if client is None else (f.read_bytes() for f in client)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), key, cert)
    with grpc.secure_channel(target, credentials) as channel:
        return rpc.RegistryServiceStub(channel).GetVersion(GET, timeout=30).name


def refused(target, authority, client=None):
    """Ask and return the code of the refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        ask(target, authority, client)
    return caught.value.code()


def test_a_client_that_trusts_the_authority_is_served(authority, tls):
    """Encrypted; in the clear, or trusting somebody else, there is no answer."""
    with framed("registry", mounting(), **tls) as frame:
        assert ask(frame.target, authority) == "a"
        stranger = Authority(authority.folder / "other")
        assert refused(frame.target, stranger) is grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(frame.target) as channel, pytest.raises(grpc.RpcError):
            rpc.RegistryServiceStub(channel).GetVersion(GET, timeout=30)


def test_mutual_tls_serves_only_clients_of_the_authority(authority, tls, caplog):
    """No certificate, or one of another authority: no connection."""
    settings = {**tls, "tls_client_ca_file": authority.file}
    with framed("registry", mounting(), **settings) as frame:
        with caplog.at_level(logging.INFO, "services"):
            assert ask(frame.target, authority, authority.issue("ann")) == "a"
        assert [r.principal for r in caplog.records if r.message == "call"] == ["ann"]
        assert refused(frame.target, authority) is grpc.StatusCode.UNAVAILABLE
        stranger = Authority(authority.folder / "other").issue("eve")
        assert refused(frame.target, authority, stranger) is grpc.StatusCode.UNAVAILABLE


def test_a_new_certificate_is_used_without_a_restart(authority, tls):
    """The next connection gets it; a broken file leaves the old one."""
    with framed("registry", mounting(), **tls) as frame:
        assert ask(frame.target, authority) == "a"
        later = Authority(authority.folder / "later", "later authority")
        for old, new in zip(tls.values(), later.issue("server"), strict=True):
            old.write_bytes(new.read_bytes())
        assert ask(frame.target, later) == "a"
        assert refused(frame.target, authority) is grpc.StatusCode.UNAVAILABLE
        tls["tls_cert_file"].write_text("broken")
        assert ask(frame.target, later) == "a"


def test_half_of_tls_is_refused(authority, tls, tmp_path):
    """A certificate without key, an authority without certificate, files that are none."""
    with pytest.raises(Invalid, match="together"):
        load_settings(tls_cert_file=tls["tls_cert_file"])
    with pytest.raises(Invalid, match="needs"):
        load_settings(tls_client_ca_file=authority.file)
    (tmp_path / "no.pem").write_text("no")
    for wrong in (tmp_path / "missing.pem", tmp_path / "no.pem"):
        with (
            pytest.raises(Invalid) as caught,
            framed("registry", mounting(), **{**tls, "tls_key_file": wrong}),
        ):
            pass
        assert caught.value.reason == "TLS_FILES"


def test_probes_may_ask_in_clear_on_a_port_of_their_own(authority, tls):
    """A kubelet's probe speaks no TLS: health alone is answered there, nothing else."""
    given = {"health_address": "127.0.0.1:0", **tls}
    with (
        framed("registry", mounting(), **given) as frame,
        grpc.insecure_channel(frame.health_target) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", LIVENESS):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            rpc.RegistryServiceStub(channel).GetVersion(GET, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_secrets_come_by_file(tmp_path, monkeypatch):
    """A file called like the variable, in the folder of secrets; the environment goes before."""
    (tmp_path / "mien_server_database_url").write_text("postgresql://of/file")
    monkeypatch.setenv("MIEN_SECRETS_DIR", str(tmp_path))
    assert load_settings().database_url == "postgresql://of/file"
    monkeypatch.setenv("MIEN_SERVER_DATABASE_URL", "sqlite:///x")
    assert load_settings().database_url == "sqlite:///x"

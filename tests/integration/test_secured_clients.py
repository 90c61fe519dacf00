"""The verbs against services that ask who calls: TLS both ways, tokens, roles."""

from __future__ import annotations

import os

import pytest

from mien.cli.main import run
from mien.core.manifest import Licence, Provenance
from mien.core.sample import Item, Sample
from mien.registry.write import write_version
from services.chassis.testing import running
from services.chassis.tokens import digest_of
from services.registry.mount import mount
from tests.integration.chassis.test_tls import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def secured(tmp_path, authority, monkeypatch):
    """A registry with TLS both ways and two tokens; the settings of one who may write."""
    for name in list(os.environ):
        if name.startswith("MIEN_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    cert, key = authority.issue("server")
    tokens = tmp_path / "tokens"
    tokens.write_text(
        f"ann writer {digest_of('anns-token')}\nbob viewer {digest_of('bobs-token')}\n"
    )
    for name in ("ann", "bob", "eve"):
        (tmp_path / f"{name}.token").write_text(f"{name}s-token\n")
    mine, mine_key = authority.issue("client")
    given = {"tls_cert_file": cert, "tls_key_file": key, "tls_client_ca_file": authority.file}
    with running("registry", mount, tokens_file=tokens, **given) as target:
        for name, value in {
            "REGISTRY_TARGET": target,
            "TOKEN_FILE": "ann.token",
            "TLS_CA_FILE": authority.file,
            "TLS_CERT_FILE": mine,
            "TLS_KEY_FILE": mine_key,
        }.items():
            monkeypatch.setenv(f"MIEN_{name}", str(value))
        yield target


@pytest.fixture
def version(tmp_path):
    items = [Item(Sample("a/1", "a"), b"image")]
    free = {"a": Licence("CC0-1.0", True, "no person is shown", "")}
    write_version(items, tmp_path / "v", name="v", provenance=Provenance("t"), licences=free)
    return tmp_path / "v"


def mien(*argv):
    return run(["--quiet", "registry", *map(str, argv)])


def test_who_may_write_writes_and_who_may_read_reads(secured, version, monkeypatch, capsys):
    """The role is the token's; what is refused says so, and changes nothing."""
    assert mien("push", version) == 0
    monkeypatch.setenv("MIEN_TOKEN_FILE", "bob.token")
    assert mien("show", "v") == 0
    assert mien("push", version, "--name", "other") == 2
    assert "writer" in capsys.readouterr().err
    assert mien("show", "other") == 2
    monkeypatch.setenv("MIEN_TOKEN_FILE", "eve.token")
    assert mien("show", "v") == 2
    monkeypatch.delenv("MIEN_TOKEN_FILE")
    capsys.readouterr()
    assert mien("show", "v") == 2
    assert "MIEN_TOKEN_FILE" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["TLS_CA_FILE", "TLS_CERT_FILE"])
def test_who_is_not_trusted_is_not_served(missing, secured, monkeypatch, tmp_path, capsys):
    """A client without a certificate, or one that trusts somebody else."""
    if missing == "TLS_CA_FILE":
        stranger = Authority(tmp_path / "other")
        monkeypatch.setenv("MIEN_TLS_CA_FILE", str(stranger.file))
    else:
        monkeypatch.delenv("MIEN_TLS_CERT_FILE")
        monkeypatch.delenv("MIEN_TLS_KEY_FILE")
    assert mien("list") == 1
    assert "UNAVAILABLE" in capsys.readouterr().err


def test_a_missing_file_of_credentials_is_named(secured, monkeypatch, capsys):
    """Before anything is sent."""
    monkeypatch.setenv("MIEN_TOKEN_FILE", "nobody.token")
    assert mien("list") == 2
    assert "nobody.token" in capsys.readouterr().err

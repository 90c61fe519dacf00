"""`python -m services.chassis.probe`, the images' HEALTHCHECK, and `python -m services NAME`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from services.chassis import probe
from services.chassis.testing import framed
from tests.integration.chassis.fake_registry import SERVICE, mounting
from tests.integration.chassis.test_tls import Authority


@pytest.fixture
def at(monkeypatch):
    """Set where the service of this environment listens."""

    def set_address(address, **more):
        monkeypatch.setenv("MIEN_SERVER_ADDRESS", address)
        for name, value in more.items():
            monkeypatch.setenv(name, str(value))

    return set_address


def test_well_is_0_and_gone_is_1(start, at, capsys):
    """Ready and alive while it serves; 1, and why, when nobody listens any more."""
    frame, _ = start()
    at(frame.target)
    assert probe.main([]) == 0
    assert probe.main(["--liveness"]) == 0
    assert capsys.readouterr().err == ""
    frame.drain(0)
    assert probe.main(["--liveness", "--timeout", "2"]) == 1
    assert "nothing listens there" in capsys.readouterr().err


def test_waiting_for_its_database_it_is_alive_but_not_ready(fake, at, capsys):
    """The images ask for liveness: what is away elsewhere must not restart this one."""

    def mount(frame):
        mounting(fake)(frame)
        frame.ready(lambda: "the database is away", service=SERVICE)

    with framed("registry", mount) as frame:
        at(frame.target)
        assert probe.main(["--liveness"]) == 0
        assert probe.main([]) == 1
        assert "the database is away" in capsys.readouterr().err


def test_everywhere_is_reached_from_here(start, at):
    """Listening on 0.0.0.0, as in an image, it is asked on the loopback."""
    frame, _ = start(address="0.0.0.0:0")
    at(f"0.0.0.0:{frame.target.rpartition(':')[2]}")
    assert probe.main([]) == 0


def test_under_tls_the_port_for_health_is_asked(start, at, tmp_path, capsys):
    """In clear, whatever the clients' settings say; without that port it says what to set."""
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("localhost")
    frame, _ = start(
        tls_cert_file=cert,
        tls_key_file=key,
        tls_client_ca_file=authority.file,
        health_address="127.0.0.1:0",
    )
    at(
        frame.target,
        MIEN_SERVER_HEALTH_ADDRESS=frame.health_target,
        MIEN_TLS_CA_FILE=authority.file,
    )
    assert probe.main([]) == 0
    assert probe.main(["--target", frame.target]) == 1, "it wants a certificate of its clients"
    at(frame.target, MIEN_SERVER_TLS_CERT_FILE=cert, MIEN_SERVER_TLS_KEY_FILE=key)
    at(frame.target, MIEN_SERVER_HEALTH_ADDRESS="")
    capsys.readouterr()
    assert probe.main([]) == 1
    assert "set MIEN_SERVER_HEALTH_ADDRESS" in capsys.readouterr().err


def test_wrong_settings_are_the_users_mistake(at, capsys):
    """Exit code 2, and the variable's name."""
    at("nonsense")
    assert probe.main([]) == 2
    assert "MIEN_SERVER_ADDRESS" in capsys.readouterr().err


def services(*args, **environ):
    """Run `python -m services` to its end."""
    command = [sys.executable, "-m", "services", *args]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src:.", **environ}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_an_image_runs_what_is_named_or_what_it_was_built_for():
    """A name goes before SERVICE; neither, or an unknown one, is 2."""
    assert "The training service" in services("training", "--help", SERVICE="registry").stdout
    assert "The registry service" in services("--help", SERVICE="registry").stdout
    for args, environ in [((), {}), (("nonsense",), {}), ((), {"SERVICE": "nonsense"})]:
        done = services(*args, **environ)
        assert done.returncode == 2
        assert "name one of registry, generation, training, serving" in done.stderr

"""``python -m services.chassis.probe``: ask the service of this machine how it is; 0 is well."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mien.core.errors import EXIT_DONE, EXIT_FAILED, MienError
from mien.settings import Settings, load_settings
from mien.wire.health import probe
from services.chassis.readiness import LIVENESS
from services.chassis.settings import PORTS
from services.chassis.settings import load_settings as load_server_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Probe once; returns 0 when it is well, 1 when not, 2 when what is asked makes no sense.

    The address is where this environment's ``MIEN_SERVER_*`` have the service listen: its port for
    health, which speaks no TLS, where there is one.
    """
    parser = argparse.ArgumentParser(prog="python -m services.chassis.probe", description=__doc__)
    parser.add_argument("--service", choices=PORTS, help="without: SERVICE, or the address alone")
    parser.add_argument("--target", help="host:port to ask instead")
    parser.add_argument(
        "--liveness", action="store_true", help="whether it answers at all; without: whether ready"
    )
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds")
    given = parser.parse_args(argv)
    try:
        target, settings = _where(given.service or os.environ.get("SERVICE", ""), given.target)
    except MienError as error:
        sys.stderr.write(f"probe: {error}\n")
        return error.exit_code
    service = LIVENESS if given.liveness else ""
    found = probe(target, settings, timeout_s=given.timeout, service=service)
    if not found.ready:
        sys.stderr.write(f"probe: {target}: {found.why}\n")
        if not found.reached and given.target is None and _encrypted_only():
            sys.stderr.write("  under TLS, set MIEN_SERVER_HEALTH_ADDRESS: a port in clear\n")
    return EXIT_DONE if found.ready else EXIT_FAILED


def _where(service: str, target: str | None) -> tuple[str, Settings]:
    server, settings = load_server_settings(), load_settings(Path.cwd())
    if target:
        return target, settings
    if server.health_address:
        clear = {"tls_ca_file": None, "tls_cert_file": None, "tls_key_file": None}
        return _near(server.health_address), settings.model_copy(
            update=clear | {"token_file": None}
        )
    return _near(server.address_of(service)), settings


def _encrypted_only() -> bool:
    server = load_server_settings()
    return server.tls and not server.health_address


def _near(address: str) -> str:
    """Where to reach from here what listens on an address, every address included."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "::") else address  # noqa: S104


if __name__ == "__main__":
    sys.exit(main())

"""Certificates; they are read again at the next handshake after they changed."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from mien.core.errors import Invalid
from services.chassis.settings import ServerSettings

log = logging.getLogger(__name__)


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    """Read certificate, key and the authority for clients, where one is given.

    Raises:
        Invalid: ``TLS_FILES`` when one cannot be read.
    """
    files = [
        file
        for file in (
            settings.tls_cert_file,
            settings.tls_key_file,
            settings.tls_client_ca_file,
        )
        if file is not None
    ]
    stamp = _stamp(files)
    current = [stamp]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return the new files, None when they are the old ones or unreadable."""
        try:
            now = _stamp(files)
            if now == current[0]:
                return None
            found = _configuration(files)
        except Invalid as error:
            log.error("certificates", extra={"reason": error.reason, "what": error.message})
            return None
        current[0] = now
        log.info("certificates", extra={"what": "read again"})
        return found

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files),
        fetch,  # type: ignore[arg-type]  # None means: still the same
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


def _configuration(files: list[Path]) -> grpc.ServerCertificateConfiguration:
    try:
        certificate, key, *authority = [file.read_bytes() for file in files]
    except OSError as error:
        raise _unreadable(error) from None
    for file, data in zip(files, [certificate, key, *authority], strict=True):
        if b"-----BEGIN" not in data:
            raise Invalid("TLS_FILES", f"{file} is no PEM file", hint="convert it with openssl")
    return grpc.ssl_server_certificate_configuration(
        [(key, certificate)], authority[0] if authority else None
    )


def _stamp(files: list[Path]) -> tuple[tuple[int, int], ...]:
    try:
        return tuple((f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> Invalid:
    return Invalid(
        "TLS_FILES",
        f"{error.filename}: {error.strerror}",
        hint="give PEM files that the server may read",
    )

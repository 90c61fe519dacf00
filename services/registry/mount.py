"""Put the registry into the frame."""

from __future__ import annotations

from mien.adapters.catalogue.registry import open_registry
from mien.api.registry.v1.registry_pb2_grpc import add_RegistryServiceServicer_to_server
from services.chassis.frame import Frame
from services.registry.servicer import SERVICE, RegistryServicer
from services.registry.webhook import open_webhook


def mount(frame: Frame) -> None:
    """Open the catalogue and the blobs that the settings name, and serve them.

    Raises:
        Invalid: ``DATABASE_URL``, ``BLOBS_URL``, ``CATALOGUE_FORMAT``, ``WEBHOOK_URL``.
        NotFound: ``WEBHOOK_FILE``.
        Unavailable: ``DATABASE_UNAVAILABLE``. Exhausted: ``DISK_FULL``.
    """
    settings = frame.settings
    registry = open_registry(settings.database_url, settings.blobs_url, frame.home)
    registry.clean()
    tell, close = open_webhook(
        settings.webhook_url, settings.webhook_secret_file, settings.webhook_token_file
    )
    frame.on_drain(close)
    servicer = RegistryServicer(registry, settings.import_roots, tell)
    frame.add(add_RegistryServiceServicer_to_server, servicer, SERVICE)
    frame.ready(registry.why_not, service=SERVICE)

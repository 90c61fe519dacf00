"""Put serving into the frame."""

from __future__ import annotations

from collections.abc import Callable

from mien.adapters.serving.local import LocalServing
from mien.api.serving.v1.serving_pb2_grpc import add_ServingServiceServicer_to_server
from services.chassis.frame import Frame
from services.serving.drift import watch_drift
from services.serving.servicer import ServingServicer

SERVICE = "mien.api.serving.v1.ServingService"


def mounted(serving: LocalServing) -> Callable[[Frame], None]:
    """Return what mounts serving: its servicer, and the canaries as its readiness."""

    def mount(frame: Frame) -> None:
        frame.add(add_ServingServiceServicer_to_server, ServingServicer(serving), SERVICE)
        frame.ready(serving.problem, service=SERVICE)
        if frame.settings.drift:
            watch_drift(frame, serving)

    return mount

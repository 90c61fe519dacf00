"""A registry that does as its caller says: sleeps, streams, fails. Also a process of its own."""

from __future__ import annotations

import os
import sys
import threading
import time

from mien.api.registry.v1 import registry_pb2 as pb
from mien.api.registry.v1 import registry_pb2_grpc as rpc
from mien.api.type.v1 import face_pb2, version_pb2
from mien.wire.call import CURRENT

SERVICE = "mien.api.registry.v1.RegistryService"
GET = f"/{SERVICE}/GetVersion"


class FakeRegistry(rpc.RegistryServiceServicer):
    """What a reference says is what happens.

    ``sleep:<s>`` answers late, ``raise`` raises ``error``, ``hold`` waits for ``release``; anything
    else is answered with itself as the name.
    """

    def __init__(self, frame=None):
        self.frame = frame
        self.error: BaseException = RuntimeError("nothing set")
        self.release = threading.Event()
        self.began = threading.Semaphore(0)
        self.calls = []
        self.ended = []

    def GetVersion(self, request, context):
        return self._version(request.reference)

    def ImportVersion(self, request, context):
        return self._version(request.folder)

    def ListVersions(self, request, context):
        return pb.ListVersionsResponse(versions=[self._version(request.name)])

    def CreateVersion(self, request_iterator, context):
        n = sum(len(r.batch.items) for r in request_iterator)
        return version_pb2.Version(name="created", rows=n)

    def StreamItems(self, request, context):
        what, _, number = request.reference.partition(":")
        try:
            if what == "watch":  # until the caller goes or the server ends
                ended = self.frame.ended(context)
                yield face_pb2.Item(image=b"first")
                self.began.release()
                ended.wait()
                return
            for _ in range(int(number or 3)):
                yield face_pb2.Item(image=b"x" * 1000)
            if what == "raise":
                raise self.error
        finally:
            self.ended.append(request.reference)

    def _version(self, reference):
        self.calls.append((reference, CURRENT.get()))
        what, _, number = reference.partition(":")
        if what == "sleep":
            time.sleep(float(number))
        if what == "work":  # holds the interpreter, as real work does between its waits
            until = time.thread_time() + float(number)
            while time.thread_time() < until:
                pass
        if what == "raise":
            raise self.error
        if what == "hold":
            self.began.release()
            self.release.wait(30)
        return version_pb2.Version(name=reference)


def mounting(fake=None):
    """Return a function that mounts a fake (a new one without)."""

    def mount(frame):
        servicer = fake if fake is not None else FakeRegistry()
        servicer.frame = frame
        frame.add(rpc.add_RegistryServiceServicer_to_server, servicer, SERVICE)

    return mount


def main():
    """Run as a process; ``FAKE_DRAIN_S`` is how long its work takes to save its state."""
    from services.chassis.main import run

    fake = FakeRegistry()

    def mount(frame):
        mounting(fake)(frame)

        def save(left_s):
            time.sleep(float(os.environ.get("FAKE_DRAIN_S", "0")))
            sys.stdout.write(f"saved with {left_s:.1f} s left\n")
            sys.stdout.flush()

        frame.on_drain(save)

    return run("registry", mount)


if __name__ == "__main__":
    raise SystemExit(main())

"""Small real servers: servicers that do as a test says, without a frame around them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import grpc

from mien.wire.channel import open_channel

PLAIN = SimpleNamespace(token_file=None, tls_ca_file=None, tls_cert_file=None, tls_key_file=None)


@contextmanager
def serving(add, servicer, settings=PLAIN, address="127.0.0.1:0") -> Iterator[grpc.Channel]:
    """Serve; yields a channel of ours to it."""
    server = grpc.server(ThreadPoolExecutor(8))
    add(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        with open_channel(f"127.0.0.1:{port}", settings) as channel:
            yield channel
    finally:
        server.stop(None).wait()

"""The HTTPS door of a node, behind which the API server finds the logs of Pods."""

import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


def log_server(
    read: Callable[[str, str], bytes | None], files: tuple[Path, Path], authority: Path
) -> ThreadingHTTPServer:
    """Serve ``/containerLogs/<namespace>/<pod>/<container>`` to the API server alone.

    Args:
        read: namespace and Pod → what it wrote, or None.
        files: certificate and key to show.
        authority: who signs the certificate that callers must show.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            url = urlsplit(self.path)
            verb, namespace, name = ([*url.path.split("/"), "", "", ""])[1:4]
            text = read(namespace, name) if verb == "containerLogs" else None
            code, body = (404, b"no such Pod on this node") if text is None else (200, text)
            self.send_response(code)
            self.send_header("Content-Type", "text/plain")
            data = _tail(body, parse_qs(url.query).get("tailLines"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A caller that hung up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, files))
    context.load_verify_locations(str(authority))
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def _tail(text: bytes, lines: list[str] | None) -> bytes:
    return text if lines is None else b"".join(text.splitlines(keepends=True)[-int(lines[0]) :])

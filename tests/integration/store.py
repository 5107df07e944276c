"""Object stores on this machine: moto's, which is a real one in all but scale, and one that only ever refuses."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.harness import BYSTANDERS

KEY, SECRET = "AKIDOFATEST", "t0p-s3cret-0f-a-test"
SERVE = """
import signal, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
signal.pause()
"""


class Store:
    """A store with one bucket, and what is in it.

    Args:
        endpoint: its address.
    """

    def __init__(self, endpoint: str, bucket: str = "bkt") -> None:
        from obs import ObsClient

        self.endpoint = endpoint
        self.bucket = bucket
        self._client: Any = ObsClient(access_key_id=KEY, secret_access_key=SECRET, server=endpoint)
        assert self._client.createBucket(bucket).status < 300

    @property
    def env(self) -> dict[str, str]:
        """What tells ma2l of it."""
        return {"OBS_ENDPOINT": self.endpoint, "OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET}

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects."""
        return [item.key for item in self._client.listObjects(self.bucket, prefix=prefix).body.contents]

    def content(self, name: str) -> bytes:
        """One object."""
        return bytes(self._client.getObject(self.bucket, name, loadStreamInMemory=True).body.buffer)

    def put(self, name: str, content: bytes) -> None:
        """Put one there."""
        assert self._client.putContent(self.bucket, name, content).status < 300


@contextmanager
def moto() -> Iterator[Store]:
    """A store in a process of its own, which ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    BYSTANDERS.add(process.pid)
    try:
        assert process.stdout is not None
        yield Store(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.communicate()
        BYSTANDERS.discard(process.pid)


Answer = Callable[[str, str], "tuple[int, str] | None"]
"""From method and path to status and body; ``None`` closes the connection."""


@contextmanager
def answering(answer: Answer, certificate: Path | None = None) -> Iterator[str]:
    """A server that answers every request so; yields its endpoint.

    Args:
        certificate: PEM file with key and certificate, for TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            while length > 0 and (chunk := self.rfile.read(min(length, 65536))):
                length -= len(chunk)
            given = answer(self.command, self.path)
            if given is None:
                self.close_connection = True
                return
            status, body = given
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate:
        scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


EMPTY = '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'


def error(code: str, message: str) -> str:
    """The body of a refusal."""
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


def certificate_for(directory: Path, *names: str) -> Path:
    """A self-signed certificate with its key in one file, for these DNS names, or an address."""
    path = directory / "store.pem"
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    alternatives = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store"]
    words += ["-addext", f"subjectAltName={alternatives}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    path.write_text(key.read_text() + certificate.read_text())
    return path


def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A hub on loopback that serves, or fails in one of the ways in which a network fails."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Answers every `/{repo}/resolve/{revision}/{file}` as its `mode` says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, mode: str = "serve", content: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode, self.content = mode, content
        self.asked: list[tuple[str, str]] = []
        self.closing = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self.server.asked.append(("HEAD", self.path))
        if self.server.mode == "silent":
            self.server.closing.wait()
        elif self.server.mode == "trickle":
            self._trickle()
        elif self.server.mode in ("404", "503"):
            self.send_response(int(self.server.mode))
            self.end_headers()
        else:
            self._headers(len(self.server.content))

    def do_GET(self) -> None:
        self.server.asked.append(("GET", self.path))
        content = self.server.content
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        half = len(content) // 2
        if self.server.mode == "short":
            self._headers(half)
            self.wfile.write(content[:half])
        elif self.server.mode == "breaks off":
            self._headers(len(content) - begin, begin)
            self.wfile.write(content[begin:half])
        else:
            self._headers(len(content) - begin, begin)
            self.wfile.write(content[begin:])

    def _headers(self, size: int, begin: int = 0) -> None:
        self.send_response(206 if begin else 200)
        # A branch leads to a commit; a commit is itself.
        revision = self.path.split("/resolve/")[1].split("/")[0]
        self.send_header("X-Repo-Commit", COMMIT if revision == "main" else revision)
        self.send_header("ETag", '"an-etag"')
        self.send_header("Content-Length", str(size))
        if begin:
            end = len(self.server.content)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
        self.end_headers()

    def _trickle(self) -> None:
        """One more byte now and then: no single wait is long, all of them are."""
        for _ in range(1000):
            try:
                self.wfile.write(b"H")
            except OSError:
                return
            if self.server.closing.wait(0.1):
                return

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def fake_hub(mode: str = "serve", content: bytes = b""):
    """Run a fake hub for a while."""
    hub = FakeHub(mode, content)
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()
        thread.join()


def closed_port() -> int:
    """Give a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

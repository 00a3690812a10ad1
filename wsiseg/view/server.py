"""The HTTP server: requests of bounded size, time and number, from this machine, with the token. Knows no routes.

The standard library parses a request once its head is here; how long and how large that may be is decided before,
so that a client that sends a byte a second, or never ends, holds nothing up.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from socketserver import BaseServer, ThreadingTCPServer
from typing import TYPE_CHECKING, Any

from wsiseg.errors import ResourceError, WsisegError
from wsiseg.view.access import HOST, Access

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES = 16 * 1024
"""Of a request line and its headers; browsers send about one."""
HEAD_S = 5.0
"""From the first byte of a request to the end of its head."""
IDLE_S = 20.0
"""Between two requests of a connection."""
SEND_S = 30.0
"""For one answer to leave."""
CONNECTIONS = 64
"""At a time; a browser opens six."""

# The digest is of OpenSeadragon's one style of its own, for touch screens.
POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='; "
    "img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "private, no-store",  # a port may show another run tomorrow, and slides stay out of caches
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# The page moves on by itself: a cookie that was set in answer to a link on another site's page (a terminal in a
# browser, say) is not yet sent when the server redirects.
_WELCOME = (
    b'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>wsiseg</title>'
    b'<meta http-equiv="refresh" content="0;url=/">\n'
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    """Its media type."""
    status: HTTPStatus = HTTPStatus.OK
    location: str = ""
    """Path that a redirection leads to."""


def plain(status: HTTPStatus, text: str = "") -> Answer:
    """Give an answer in words."""
    return Answer(f"{text or status.phrase}\n".encode(), status=status)


class ViewServer(ThreadingTCPServer):
    """Listens on the loopback address and answers from a function of the path.

    Parameters
    ----------
    answer
        Path, as it was sent, to `Answer`; called by many threads.
    port
        0 is a free one.

    Raises
    ------
    ResourceError
        E-IO: the port cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows it would let another program take the port over
    request_queue_size = CONNECTIONS

    def __init__(self, answer: Callable[[str], Answer], port: int = 0) -> None:
        self.answer = answer
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            what = f"cannot listen on port {port} ({error.strerror})"
            raise ResourceError("E-IO", what, where=HOST, fix="choose another --port") from error
        self.access = Access(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Answer in a thread of its own; what comes beyond the limit is closed at once."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer, then let another connection in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Report a bug; a client that left or was too slow is none."""
        if not isinstance(sys.exception(), OSError):
            BaseServer.handle_error(self, request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body leave at once, not 40 ms apart
    _rest = b""
    _cookie = ""

    def handle_one_request(self) -> None:
        """Wait for a whole head, then let the standard library parse it."""
        head = self._head()
        self.close_connection = True
        if not head:
            return
        self.rfile = BytesIO(head)
        super().handle_one_request()

    def _head(self) -> bytes:
        """Give the next request's head; nothing if the client left, was too slow or sent too much."""
        data, deadline = self._rest, time.monotonic() + (HEAD_S if self._rest else IDLE_S)
        while b"\r\n\r\n" not in data:
            if len(data) > HEAD_BYTES:
                self.connection.sendall(
                    b"HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return b""
            self.connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                more = self.connection.recv(HEAD_BYTES)
            except OSError:
                return b""
            if not more:
                return b""
            deadline = deadline if data else time.monotonic() + HEAD_S
            data += more
        head, end, self._rest = data.partition(b"\r\n\r\n")
        self.connection.settimeout(SEND_S)
        return head + end

    def do_GET(self) -> None:
        """Answer with headers and body."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._send(self._answer())

    def _refuse(self) -> None:
        self.close_connection = True  # a body may follow, which nobody reads
        refused = self._misled() or plain(HTTPStatus.METHOD_NOT_ALLOWED)
        self._send(refused)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _misled(self) -> Answer | None:
        wrong = self.server.access.wrong_address(self.headers)
        return plain(wrong) if wrong else None

    def _answer(self) -> Answer:
        if misled := self._misled():
            return misled
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return plain(HTTPStatus.BAD_REQUEST, "a request has no body here")
        path, _, query = self.path.partition("?")
        if path == "/" and (cookie := self.server.access.cookie_for(query)):
            self._cookie = cookie
            return Answer(_WELCOME, "text/html; charset=utf-8")
        if not self.server.access.knows(self.headers):
            return plain(HTTPStatus.UNAUTHORIZED, "open the address that `wsiseg view` printed")
        return self._found(path)

    def _found(self, path: str) -> Answer:
        try:
            return self.server.answer(path)
        except WsisegError as error:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except Exception:  # noqa: BLE001 - a bug in one answer ends neither the server nor the connection
            traceback.print_exc()
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        optional = {"Location": answer.location, "Set-Cookie": self._cookie}
        optional["Connection"] = "close" if self.close_connection else ""
        for name, value in optional.items():
            if value:
                self.send_header(name, value)
        self._cookie = ""
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the standard library cannot parse, and repeat nothing of it."""
        self.close_connection = True
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def version_string(self) -> str:
        """Name the server, and no versions."""
        return "wsiseg"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: addresses would hold places on a slide."""

"""Who may ask: whoever holds the token, through an address that is ours. Knows no HTTP server.

A page of another site can make a browser send requests here, and a name of another site can be made to point
here (DNS rebinding); so the token alone does not do, and `Host` and `Origin` are looked at first.
"""

from __future__ import annotations

import re
import secrets
import threading
from hmac import compare_digest
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message

HOST = "127.0.0.1"
"""The one address that is listened on: what asks comes from this machine."""


class Access:
    """The token of one server, and the requests that it lets in.

    Parameters
    ----------
    port
        Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        """256 random bits."""
        # Cookies do not know ports: two servers on one machine must not take each other's.
        self._cookie = f"wsiseg-{port}"
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self._once = ""
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where a person begins; holds the token."""
        return f"http://{self._hosts[0]}/?token={self.token}"

    def url_for_once(self) -> str:
        """Give an address that lets in only once, for a browser's command line, which others can see."""
        with self._lock:
            self._once = secrets.token_urlsafe(32)
            return f"http://{self._hosts[0]}/?token={self._once}"

    def wrong_address(self, headers: Message) -> HTTPStatus | None:
        """Give the status that refuses a request that came by a wrong name or from another site's page."""
        hosts = headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        origins = headers.get_all("Origin", [])
        if any(origin.strip().lower() not in {f"http://{host}" for host in self._hosts} for origin in origins):
            return HTTPStatus.FORBIDDEN
        return None

    def knows(self, headers: Message) -> bool:
        """Tell whether a request carries the token, as a cookie or an `Authorization` header."""
        offered = [value.removeprefix("Bearer ").strip() for value in headers.get_all("Authorization", [])]
        for cookies in headers.get_all("Cookie", []):
            pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
            offered += [value for name, _, value in pairs if name == self._cookie]
        return any(_equal(value, self.token) for value in offered)

    def cookie_for(self, query: str) -> str | None:
        """Give the `Set-Cookie` header for the query of a first visit; None if its token is not the right one."""
        found = re.fullmatch(r"token=([A-Za-z0-9_-]{1,100})", query)
        if found is None or not (_equal(found[1], self.token) or self._spend(found[1])):
            return None
        return f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _spend(self, token: str) -> bool:
        """Tell whether a token is the one that may be used once, and forget it if so."""
        with self._lock:
            right = bool(self._once) and _equal(token, self._once)
            if right:
                self._once = ""
            return right


def _equal(offered: str, token: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return compare_digest(offered.encode("utf-8", "replace"), token.encode())

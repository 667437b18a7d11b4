"""Who is let in: requests that were meant for this address, from its own page, with a token if one is needed.

A page of somebody else, open in the same browser, can send requests to this machine. It cannot choose the
Host and Origin that the browser sends; so these are compared. Where a foreign name leads here (DNS
rebinding), Host is that name.
"""

import hmac
import ipaddress
import socket
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from itertools import chain
from typing import Any
from urllib.parse import parse_qs

from jaxchar.errors import quoted
from jaxchar.playground.refusal import FORBIDDEN, LONG_HEAD, Refusal
from jaxchar.playground.streams import encoded

POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
HEADERS = [
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),  # a connection carries one request: one deadline holds for all of it
]
ANY_ADDRESS = ("0.0.0.0", "::", "")
MOST_HEADERS, MOST_HEAD_BYTES = 100, 32 * 1024  # of a request


class Gatekeeper:
    """An application of ASGI that lets requests through to another one, and adds headers to its answers."""

    def __init__(self, application: Callable, host: str, port: int, token: str | None) -> None:
        """Guard an application.

        Args:
            application: what is guarded.
            host: that it is bound to.
            port: likewise.
            token: that every request has to bring, in its address or its cookie; None: none is needed.
        """
        self._application = application
        self._host, self._port, self._token = host.strip("[]").lower(), port, token
        self._cookie = f"jaxchar-{port}"  # browsers do not keep the cookies of ports apart

    async def __call__(self, scope: Any, receive: Callable, send: Callable) -> None:
        """Answer a request, or refuse it in one line."""
        if scope["type"] != "http":
            return

        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._headers(scope)]}
            await send(message)

        try:
            self.check(scope)
        except Refusal as refusal:
            body = encoded({"error": str(refusal)})
            kind = (b"content-type", b"application/json")
            start = {"type": "http.response.start", "status": refusal.status, "headers": [kind, *HEADERS]}
            await send(start)
            await send({"type": "http.response.body", "body": body})
        else:
            await self._application(scope, receive, send_on)

    def check(self, scope: Any) -> None:
        """Raise a Refusal where a request is not to be let in."""
        if len(scope["headers"]) > MOST_HEADERS:
            raise Refusal(f"a request must have at most {MOST_HEADERS} headers; send fewer", LONG_HEAD)
        parts = [scope.get("raw_path") or b"", scope["query_string"], *chain(*scope["headers"])]
        if sum(map(len, parts)) > MOST_HEAD_BYTES:
            raise Refusal(
                f"address and headers must have at most {MOST_HEAD_BYTES:,} bytes together; send less",
                LONG_HEAD,
            )
        host = _only(scope, b"host")
        if not self._is_ours(host):
            raise Refusal(
                f"the request is for the host {quoted(host)}, but this is {self._host}:{self._port}; open it",
                FORBIDDEN,
            )
        origin = _only(scope, b"origin", "")
        if origin not in ("", f"http://{host}"):
            raise Refusal(
                f"the request comes from a page of {quoted(origin)}; open http://{host} instead", FORBIDDEN
            )
        if _only(scope, b"sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] != "/":
            raise Refusal(f"the request comes from another site; open http://{host} instead", FORBIDDEN)
        if self._token is not None and not self._brings(self._token, scope):
            raise Refusal(
                "the address lacks its token, or has another one; open the address that jaxchar play printed",
                FORBIDDEN,
            )

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this address."""
        name, port = _split(host)
        if port != self._port:
            return False
        if is_loopback(self._host):
            return name in ("localhost", "127.0.0.1", "::1", self._host)
        # A number cannot be made to lead elsewhere, as a name can; and beyond this machine there is a token.
        return name in (self._host, "localhost", socket.gethostname().lower()) or _is_number(name)

    def _brings(self, token: str, scope: Any) -> bool:
        given = [*_token_in_address(scope), *self._token_in_cookie(scope)]
        return any(hmac.compare_digest(each.encode("utf-8", "replace"), token.encode()) for each in given)

    def _token_in_cookie(self, scope: Any) -> list[str]:
        try:
            cookies = SimpleCookie(_only(scope, b"cookie", ""))
        except CookieError:
            return []
        return [cookies[self._cookie].value] if self._cookie in cookies else []

    def _headers(self, scope: Any) -> list[tuple[bytes, bytes]]:
        """Return the headers of an answer; the page's own brings the cookie that its files are asked with."""
        if self._token is None or scope["path"] != "/":
            return HEADERS
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        return [*HEADERS, (b"set-cookie", cookie.encode("ascii"))]


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    name = host.strip("[]").lower()
    return name == "localhost" or (_is_number(name) and ipaddress.ip_address(name).is_loopback)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _split(host: str) -> tuple[str, int]:
    """Return the name and the port of a Host header."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or len(port) > 5:
        return host.strip("[]").lower(), 80
    return name.strip("[]").lower(), int(port)


def _token_in_address(scope: Any) -> list[str]:
    query = scope["query_string"].decode("ascii", "replace")
    try:
        return parse_qs(query, max_num_fields=20, errors="replace").get("token", [])
    except ValueError:  # too many fields
        return []


def _only(scope: Any, name: bytes, default: str | None = None) -> str:
    """Return the one value of a header.

    Raises:
        Refusal: it is there twice, or it has to be there and is not.
    """
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1 or (not values and default is None):
        raise Refusal(
            f"the request must have one header {name.decode()}, but it has {len(values)}", FORBIDDEN
        )
    return values[0].decode("latin-1") if values else str(default)

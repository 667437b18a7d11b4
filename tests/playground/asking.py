"""Requests to a playground in tests: by sockets, so that they can be as wrong as one likes."""

import json
import socket
import time
from typing import Any

JSON = "application/json"


def raw(address: Any, sent: bytes, seconds: float = 30.0) -> bytes:
    """Send bytes, and return all that is answered."""
    with socket.create_connection((address.host, address.port), seconds) as connection:
        connection.sendall(sent)
        parts = []
        try:
            while part := connection.recv(65_536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def request(address: Any, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request as bytes."""
    given = {"Host": f"{address.host}:{address.port}", "Content-Type": JSON, "Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def split(answer: bytes) -> tuple[int, str, bytes]:
    """Return status, head and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body = whole
    return int(head.split()[1]), head.decode("latin-1"), body


def get(address: Any, path: str, **headers: str) -> tuple[int, Any]:
    """Return status and JSON of an answer."""
    status, _, body = split(raw(address, request(address, "GET", path, **headers)))
    return status, json.loads(body)


def post(address: Any, name: str, **asked: Any) -> tuple[int, Any]:
    """Ask for something of the run; return status and JSON."""
    status, _, body = split(raw(address, request(address, "POST", f"/api/{name}", encoded(asked))))
    return status, json.loads(body)


def events(address: Any, name: str, **asked: Any) -> list[tuple[str, Any]]:
    """Return all events of a stream."""
    status, _, body = split(raw(address, request(address, "POST", f"/api/{name}", encoded(asked))))
    assert status == 200, body
    return parsed(body)


def parsed(body: bytes) -> list[tuple[str, Any]]:
    """Return the events in the body of a stream."""
    blocks = [block.split("\n") for block in body.decode().split("\n\n") if block]
    return [
        (first.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for first, data in blocks
    ]


def encoded(asked: dict[str, Any]) -> bytes:
    """Return a request's body, which names the run unless it names another."""
    return json.dumps({"model": "small", **asked}).encode()


def check_one_line(answer: bytes) -> None:
    """See that an answer is an error in one line."""
    status, head, body = split(answer)
    assert 400 <= status < 500 or status == 503, answer[:300]
    if "application/json" in head:
        error = json.loads(body)["error"]
        assert error and "\n" not in error and len(error) < 1300
    else:
        assert body == b"Invalid HTTP request received.", answer[:300]


def wait_until_free(address: Any) -> None:
    """Wait until a stream can begin; the work of those that left ends within a piece."""
    deadline = time.monotonic() + 10
    while _write_status(address) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _write_status(address: Any) -> int:
    sent = request(address, "POST", "/api/write", encoded({"prompt": "the ", "length": 1}))
    return split(raw(address, sent))[0]

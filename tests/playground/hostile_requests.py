"""Requests that mean harm, by name: each is to be answered once, in one line, by an error."""

from typing import Any

from asking import encoded, request

PATHS = (
    "/static/%00",
    "/static/main.js%00.html",
    "/static/%2e%2e/app.py",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/static/%252e%252e/app.py",
    "/static//etc/passwd",
    "/static/..;/app.py",
    "/static/%5c..%5capp.py",
    "/static/%c0%ae%c0%ae/app.py",
    "/static/%ff",
    "/static/" + "a/" * 2000,
    "/static/" + "a" * 300,
    "/static/.",
    "/static/",
    "/api/models/",
    "/api//models",
    "/api/live?model=%ff",
    "/api/curve?model=%ed%a0%80",
    "/api/curve?model=small%00",
    "/api/curve?model[]=small",
    "/api/curve;model=small",
    "*",
    "http://evil.example/api/models",
)
METHODS = ("PUT", "PATCH", "OPTIONS", "TRACE", "DELETE", "CONNECT", "NONE", "get")
TYPES = (
    "",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "application/json/x",
    "a" * 5000,
)
VALUES: dict[str, Any] = {
    "a lone surrogate": {"prompt": "\ud800"},
    "a lone surrogate to stop at": {"prompt": "t", "stop": ["\udfff"]},
    "half a character to go on from": {"prompt": "t", "continued": "\ud83d"},
    "a lone surrogate as the model": {"prompt": "t", "model": "\ud800"},
    "a path as the model": {"prompt": "t", "model": "../small"},
    "too many stops": {"prompt": "t", "stop": ["a"] * 33},
    "a unit held at a huge value": {"prompt": "t", "held": [{"layer": 0, "unit": 5, "value": 1e308}]},
    "a unit held twice": {"prompt": "t", "held": [{"layer": 0, "unit": 1}] * 2},
    "a step that is not there": {"prompt": "t", "step": 3},
    "a huge length": {"prompt": "t", "length": 1e300},
    "half a character": {"prompt": "t", "length": 1.5},
    "a length that is true": {"prompt": "t", "length": True},
    "a name of Python's": {"prompt": "t", "__class__": "x"},
}
BODIES = {
    "objects, very deep": b'{"a":' * 100_000,
    "arrays, very deep": b"[" * 1_000_000,
    "a very long string": b'"' + b"a" * 1_000_000 + b'"',
    "a string without an end": b'"' + b'\\"' * 500_000,
    "quotation marks alone": b'"' * 1_000_001,
    "backslashes alone": b'"' + b"\\" * 1_000_001,
    "a byte order mark": b"\xef\xbb\xbf" + encoded({"prompt": "t"}),
    "another encoding": encoded({"prompt": "t"}).decode().encode("utf-16"),
    "a name twice": b'{"model":"small","prompt":"t","prompt":"h"}',
    "a number of another language": b'{"model":"small","prompt":"t","length":0x10}',
    "null": b"null",
}


def hostile_requests(address: Any) -> dict[str, bytes]:
    """Return the requests, as bytes to send to an address."""
    host = f"Host: {address.host}:{address.port}\r\n".encode()
    body = encoded({"prompt": "t", "length": 2})
    post = b"POST /api/write HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    get = b"GET /api/models HTTP/1.1\r\n"
    length, chunked = b"Content-Length: %d\r\n" % len(body), b"Transfer-Encoding: chunked\r\n"
    hidden = b"0\r\n\r\nGET /api/models HTTP/1.1\r\n" + host + b"\r\n"
    sent = {
        "a request hidden behind two lengths": post + length + chunked + b"\r\n" + hidden,
        "two lengths": post + length + b"Content-Length: 5\r\n\r\n" + body,
        "a negative length": post + b"Content-Length: -5\r\n\r\n" + body,
        "a length with a sign": post + b"Content-Length: +5\r\n\r\n" + body,
        "a huge length": post + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + body,
        "an unknown coding": post + b"Transfer-Encoding: xchunked\r\n\r\n" + body,
        "two codings": post + chunked + b"Transfer-Encoding: identity\r\n\r\n" + body,
        "a chunk without a size": post + chunked + b"\r\nzz\r\n" + body,
        "a chunk of a huge size": post + chunked + b"\r\n" + b"f" * 30 + b"\r\n" + body,
        "a space before a colon": get + host.replace(b":", b" :", 1) + b"\r\n",
        "two hosts": get + host + b"Host: evil.example\r\n\r\n",
        "no host": b"GET /api/models HTTP/1.0\r\n\r\n",
        "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a huge header": get + host + b"X: " + b"a" * 40_000 + b"\r\n\r\n",
        "very many headers": get + host + b"".join(b"X%d: 1\r\n" % n for n in range(500)) + b"\r\n",
        "a huge path": request(address, "GET", "/" + "a" * 40_000),
        "a huge question": request(address, "GET", "/api/curve?model=" + "a" * 30_000),
        "a web socket": request(
            address, "GET", "/ws", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13"
        ),
    }
    sent |= {f"GET {path[:40]}": request(address, "GET", path) for path in PATHS}
    sent |= {f"{method} /api/models": request(address, method, "/api/models") for method in METHODS}
    for kind in TYPES:
        sent[f"a body of {kind[:40]!r}"] = request(address, "POST", "/api/write", body, Content_Type=kind)
    for name, asked in VALUES.items():
        sent[name] = request(address, "POST", "/api/write", encoded(asked))
    for name, raw_body in BODIES.items():
        sent[name] = request(address, "POST", "/api/write", raw_body)
    return sent

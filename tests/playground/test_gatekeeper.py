"""Who is let in: by Host, Origin and token."""

import anyio
import pytest

from jaxchar.playground.gatekeeper import Gatekeeper, is_loopback

OURS = {"host": "127.0.0.1:8400"}


def ask(headers, *, host="127.0.0.1", token=None, path="/api/models", query=b"") -> tuple[int, dict]:
    """Return the status and the headers of the answer."""
    messages = []

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        messages.append(message)

    given = headers.items() if isinstance(headers, dict) else headers
    scope = {
        "type": "http",
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given],
    }
    anyio.run(Gatekeeper(inside, host, 8400, token), scope, None, send)
    return messages[0]["status"], dict(messages[0]["headers"])


@pytest.mark.parametrize("host", ["127.0.0.1:8400", "localhost:8400", "LOCALHOST:8400", "[::1]:8400"])
def test_the_own_page_is_let_in(host):
    same = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert ask({"host": host})[0] == ask(same)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": ""},
        {"host": "evil.example:8400"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:80"},
        {"host": "127.0.0.1:8400.evil.example"},
        {"host": "127.0.0.1:84000000000"},
        {"host": "192.168.1.5:8400"},
        [("host", "127.0.0.1:8400"), ("host", "127.0.0.1:8400")],
        OURS | {"origin": "http://evil.example"},
        OURS | {"origin": "null"},
        OURS | {"origin": "https://127.0.0.1:8400"},
        OURS | {"origin": "http://127.0.0.1:8401"},
        OURS | {"sec-fetch-site": "cross-site"},
        OURS | {"sec-fetch-site": "same-site"},
    ],
)
def test_anybody_else_is_not(headers):
    assert ask(headers)[0] == 403


def test_a_link_from_elsewhere_opens_the_page():
    assert ask(OURS | {"sec-fetch-site": "cross-site"}, path="/")[0] == 200


def test_every_answer_forbids_what_is_not_the_pages_own():
    for headers in (OURS, {"host": "evil.example"}):
        found = ask(headers)[1]
        policy = found[b"content-security-policy"].decode()
        assert policy.startswith("default-src 'self';") and "unsafe" not in policy
        assert found[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("name", ["192.168.1.5", "localhost", "[fe80::1]"])
def test_beyond_this_machine_the_token_is_needed(name):
    host, theirs = {"host": f"{name}:8400"}, {"host": "0.0.0.0", "token": "secret"}
    assert ask(host, **theirs)[0] == 403
    assert ask(host, query=b"token=wrong", **theirs)[0] == 403
    assert ask(host, query=b"&".join([b"a=1"] * 50), **theirs)[0] == 403
    assert ask(host, query=b"token=secret", **theirs)[0] == 200
    assert ask(host | {"cookie": "jaxchar-8400=secret"}, **theirs)[0] == 200
    assert ask(host | {"cookie": "jaxchar-8401=secret"}, **theirs)[0] == 403
    assert ask(host | {"cookie": "jaxchar-8400=\xff;;;="}, **theirs)[0] == 403


def test_the_page_brings_the_cookie_that_its_files_are_asked_with():
    found = ask(OURS, host="0.0.0.0", token="secret", path="/", query=b"token=secret")[1]
    assert found[b"set-cookie"] == b"jaxchar-8400=secret; Path=/; HttpOnly; SameSite=Strict"
    assert b"set-cookie" not in ask(OURS, path="/")[1]


def test_a_foreign_name_is_no_host_even_with_the_token():
    assert ask({"host": "evil.example:8400"}, host="0.0.0.0", token="s", query=b"token=s")[0] == 403


def test_loopback_is_this_machine_alone():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "example.org", "")))


def test_a_long_head_is_refused():
    assert ask(OURS | {"x": "a" * 33_000})[0] == 431
    assert ask(OURS, query=b"a" * 33_000)[0] == 431
    assert ask(OURS | {f"x{number}": "1" for number in range(100)})[0] == 431
    assert ask(OURS | {"x": "a" * 30_000})[0] == 200

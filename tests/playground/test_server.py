"""Where the playground listens, and what is said where it cannot."""

import builtins
import socket

import pytest

from jaxchar.errors import JaxcharError
from jaxchar.playground import server
from jaxchar.playground.server import bound, check_installed, open_browser


def test_it_listens_on_this_machine_alone_and_without_a_token():
    address = bound(port=0)
    with address.listening:
        assert address.listening.getsockname()[0] == "127.0.0.1"
        assert address.url == f"http://127.0.0.1:{address.port}/" and address.token is None


def test_beyond_this_machine_the_address_has_a_token():
    with bound("0.0.0.0", 0).listening as listening, bound("0.0.0.0", 0).listening:
        assert listening.getsockname()[0] == "0.0.0.0"
    address = bound("0.0.0.0", 0)
    address.listening.close()
    assert len(address.token) >= 32
    assert address.url == f"http://127.0.0.1:{address.port}/?token={address.token}"


def test_a_port_that_is_taken_is_refused_and_another_one_taken_where_none_was_asked_for(monkeypatch):
    with bound(port=0).listening as taken:
        port = taken.getsockname()[1]
        with pytest.raises(JaxcharError, match=f"cannot listen at host='127.0.0.1' port={port}: "):
            bound(port=port)
        monkeypatch.setattr(server, "PORT", port)
        other = bound()
        other.listening.close()
        assert other.port != port


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("no.such.invalid", 0), ("a" * 300, 0)]
)
def test_an_address_that_cannot_be_is_refused_in_one_line(host, port, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    if host == "no.such.invalid":
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(JaxcharError, match=r"port must be|host="):
        bound(host, port)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(missing, monkeypatch):
    find = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return find(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(JaxcharError, match=rf"needs the package {missing}.* pip install 'jaxchar\[play\]'"):
        check_installed()


def test_no_browser_is_opened_where_there_are_no_windows(monkeypatch):
    opened = []
    monkeypatch.setattr(server.webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.setattr(server.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not open_browser("http://x/") and not opened
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_browser("http://x/") and opened == ["http://x/"]

"""The playground's server: one process, uvicorn, on this machine unless another address is asked for."""

import contextlib
import errno
import logging
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxchar.errors import JaxcharError, quoted, reason_of
from jaxchar.playground.gatekeeper import ANY_ADDRESS, MOST_HEAD_BYTES, is_loopback

HOST = "127.0.0.1"
PORT = 8400  # or a free one, where it is taken
MOST_CONNECTIONS = 500
STOP_SECONDS = 2
NOISE = ("Invalid HTTP request", "Unsupported upgrade request", "No supported WebSocket library")


class Address(NamedTuple):
    """Where the playground is, and the socket that listens there."""

    listening: socket.socket
    host: str
    port: int
    token: str | None

    @property
    def url(self) -> str:
        """What to open in a browser."""
        name = HOST if self.host in ANY_ADDRESS else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{self.port}/" + (f"?token={self.token}" if self.token else "")


def bound(host: str = HOST, port: int | None = None) -> Address:
    """Return an address that listens.

    Args:
        host: a name or number of this machine. One that others can reach gets a token.
        port: 0: any free one; None: the usual one, or any free one.

    Raises:
        JaxcharError: it cannot be had.
    """
    if port is not None and not 0 <= port < 65_536:
        raise JaxcharError(f"--port must be a number from 0 to 65,535, but it is {port}")
    for number in (PORT, 0) if port is None else (port,):
        try:
            listening = _listening(host, number)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port is None and number:
                continue
            where = f"--host {quoted(host)} --port {number}"
            raise JaxcharError(f"cannot listen at {where}: {reason_of(error)}; give others") from error
        except (UnicodeError, ValueError) as error:
            raise JaxcharError(f"--host {quoted(host)} is no address: {error}; give another") from error
        token = None if is_loopback(host) else secrets.token_urlsafe(24)
        return Address(listening, host, listening.getsockname()[1], token)
    raise AssertionError


def serve(application: Callable, address: Address, on_ready: Callable[[], object]) -> None:
    """Serve until Ctrl-C or a signal ends it.

    Args:
        application: of ASGI.
        address: see :func:`bound`.
        on_ready: called in a thread when it answers.
    """
    server = server_of(application)
    getting_ready = threading.Thread(target=_when_started, args=(server, on_ready), daemon=True)
    getting_ready.start()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after an orderly end
        server.run(sockets=[address.listening])
    getting_ready.join()  # a process that ends while another thread compiles is aborted


def server_of(application: Callable) -> Any:
    """Return uvicorn's server, which ``run(sockets=[address.listening])`` starts."""
    import uvicorn

    from jaxchar.playground.connection import BoundedConnection

    logging.getLogger("uvicorn.error").addFilter(_is_no_noise)
    config = uvicorn.Config(
        application,
        http=BoundedConnection,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def check_installed() -> None:
    """Raise a JaxcharError where the packages of the playground are not installed."""
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise JaxcharError(
            f"the playground needs the package {error.name}, which is not installed; "
            "pip install 'jaxchar[play]'"
        ) from error
    del starlette, uvicorn


def open_browser(url: str) -> bool:
    """Open an address in a browser with windows, if there is one; return whether there was."""
    has_windows = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    with contextlib.suppress(webbrowser.Error):
        return has_windows and webbrowser.open(url)
    return False


def _listening(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0][0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)
    except BaseException:
        listening.close()
        raise
    return listening


def _when_started(server: Any, on_ready: Callable[[], object]) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.01)
    if server.started:
        on_ready()


def _is_no_noise(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's log is worth a line: not that somebody sent what is not answered."""
    return not any(noise in record.getMessage() for noise in NOISE)

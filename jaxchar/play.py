"""See a model write, and see what its units see: ``python -m jaxchar.play --ckpt runs/mine``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import runs_to_show
from jaxchar.cli.parse import parse_command


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Open a page on this machine that shows runs: writing, surprise, hidden units, learning."""

    # Run folders, or folders that hold some. Default: the newest run in runs/.
    runs: Annotated[tuple[str, ...], Positional, arg(metavar="[RUN ...]", help_behavior_hint="")] = ()
    ckpt: str | None = None  # one run, as an option
    port: int | None = None  # of the page; 0: any free one; None: 8400, or a free one
    # The address to listen at. One that other machines reach needs the token that is printed.
    host: str = "127.0.0.1"
    browser: bool = True  # open the page in a browser


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page as the command line says, until Ctrl-C; its address on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "play", arguments)
        runs = runs_to_show(typed)
        from jaxchar.playground.server import bound, check_installed, open_browser, serve

        check_installed()
        from jaxchar.cache import enable_compilation_cache
        from jaxchar.playground.app import Playground, warm
        from jaxchar.playground.library import Library

        library, address = Library(runs), bound(typed.host, typed.port)
        if address.token is not None:
            warn([f"--host {typed.host!r} lets other machines in; who has the address can use the page"])
        enable_compilation_cache()

        def on_ready() -> None:
            print(address.url, flush=True)
            print("Ctrl-C ends it.", file=sys.stderr)
            if typed.browser:
                open_browser(address.url)
            warm(library)

        application = Playground(library).application(address.host, address.port, address.token)
        serve(application, address, on_ready)


if __name__ == "__main__":
    main()

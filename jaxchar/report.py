"""Write a page on a run as one file that needs no network: ``jaxchar report runs/mine --out report.html``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.checkpoint.find import Loaded


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write a page on a run: texts coloured by surprise, what its units tell, its losses."""

    # A run's folder, its checkpoints folder, or one checkpoint's folder. Default: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    out: str = "report.html"  # the file to write
    text: str | None = None  # a UTF-8 file that the model reads; None: some of its own text
    # Which checkpoint of the run. None: the best one if the run was validated, else the last one.
    which: Literal["last", "best"] | None = None

    @property
    def memory(self) -> None:
        """How far the memory is asked: as the other commands do where nothing is said."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write as the command line says; the file's path on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "report", arguments)
        run = run_to_use(typed)
        from jaxchar.cache import enable_compilation_cache
        from jaxchar.playground.report_file import write_report
        from jaxchar.sampling.prompt_sources import prompt_from_file
        from jaxchar.terminal.work_bar import work_bar

        enable_compilation_cache()
        text = None if typed.text is None else prompt_from_file(typed.text)

        def on_ready(loaded: "Loaded") -> None:
            warn(loaded.warnings)
            say_model(typed, run, loaded)

        with work_bar() as tell:
            written = write_report(
                run, typed.out, text=text, which=typed.which, on_ready=on_ready, on_progress=tell
            )
        print(written)


if __name__ == "__main__":
    main()

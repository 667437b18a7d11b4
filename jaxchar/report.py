"""Write a page on a run as one file that needs no network: ``jaxchar report runs/mine --out report.html``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.newest_run import run_to_use, say_run
from jaxchar.cli.parse import parse_command


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write a page on a run: texts coloured by surprise, what its units tell, its losses."""

    # A run's folder. Default: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    out: str = "report.html"  # the file to write
    text: str | None = None  # a UTF-8 file that the model reads; None: some of its own text


def main(arguments: Sequence[str] | None = None) -> None:
    """Write as the command line says; the file's path on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "report", arguments)
        run = run_to_use(typed)
        say_run(typed, run)
        from jaxchar.cache import enable_compilation_cache
        from jaxchar.playground.report_file import write_report
        from jaxchar.sampling.prompt_sources import prompt_from_file

        enable_compilation_cache()
        text = None if typed.text is None else prompt_from_file(typed.text)
        print(write_report(run, typed.out, text=text))


if __name__ == "__main__":
    main()

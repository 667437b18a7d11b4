"""Train a model: ``jaxchar train my_novel.txt --run-dir runs/mine``."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.streams import streams_that_lose_nothing
from jaxchar.cli.train_arguments import Arguments as Arguments
from jaxchar.cli.train_settings import TypedSettings, parse_arguments
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay, shell_command, tolerant_output
from jaxchar.training.signals import leaving_at_once

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.training.callbacks import Callback
    from jaxchar.training.seeds import SeedsResult
    from jaxchar.training.summary import RunResult


def main(
    default: Config | None = None, name: str | None = None, *, arguments: Sequence[str] | None = None
) -> None:
    """Train as the command line says.

    Args:
        default: the settings that the command line does not set; an experiment's.
        name: what a new folder in ``runs/`` is called; None: as the corpus is.
        arguments: the command line; None takes the process's own.
    """
    started = time.monotonic()
    with streams_that_lose_nothing(), tolerant_output(), one_line_errors(), leaving_at_once():
        screen = TrainingDisplay()
        display = GuardedDisplay(screen, shell_command)
        with display.phase("starting ...", in_lines="never"):
            typed = parse_arguments(default, arguments)
        screen.verbose = typed.shown.verbose
        if typed.shown.plain:
            screen.use_plain_lines()
        # Once per process, but then the longest wait.
        with display.phase("loading JAX ...", in_lines="never" if "jax" in sys.modules else "at once"):
            from jaxchar.cache import enable_compilation_cache
            from jaxchar.parallel.processes import is_first
        enable_compilation_cache()
        typed.processes.join()
        result = _train(typed, name, started, display)
        if result is None:
            return
        if is_first():
            _show_the_end(result, display)
        if result.stopped_by is not None:
            raise SystemExit(128 + result.stopped_by)


def _show_the_end(result: "RunResult | SeedsResult", display: GuardedDisplay) -> None:
    from jaxchar.training.seeds import SeedsResult

    if isinstance(result, SeedsResult):
        display.notice(result.in_words())
    else:
        display.finished(result.run_dir, result.summary, result.with_memory)


def _train(
    typed: TypedSettings, name: str | None, started: float, display: GuardedDisplay
) -> "RunResult | SeedsResult | None":
    """Start or resume the run, or several; return what came of it, None if only the plan was asked for."""
    from jaxchar.training.launch import fit, fit_text, plan_text
    from jaxchar.training.resume import resume
    from jaxchar.training.seeds import fit_seeds

    _check_go_together(typed)
    begin, callbacks = typed.begin, _callbacks(typed)
    if begin.goes_on:
        return resume(
            begin.run_dir,  # type: ignore[arg-type]  # it was checked
            config=typed.config,
            initial_epoch=begin.initial_epoch,
            minutes=typed.minutes,
            callbacks=callbacks,
            display=display,
        )
    new: dict[str, Any] = {
        "name": name,
        "init_from": begin.init_from,
        "keep_optimizer": begin.keep_optimizer,
        "new_characters": begin.new_characters,
        "callbacks": callbacks,
        "display": display,
    }
    settings = {setting: getattr(typed.config, setting) for setting in typed.given or ()}
    if begin.seeds is not None:
        return fit_seeds(
            typed.config if typed.given is None else settings,
            begin.run_dir,
            seeds=begin.seeds,
            minutes=typed.minutes,
            started=started,
            resume=resume,
            **new,
        )
    if typed.given is None:
        return fit(typed.config, begin.run_dir, **new)
    if typed.plan:
        plan_text(settings, typed.minutes, started, display)
        return None
    return fit_text(settings, begin.run_dir, typed.minutes, started, **new)


def _check_go_together(typed: TypedSettings) -> None:
    """Raise a JaxcharError where options were typed that exclude one another, or one that needs another."""
    begin = typed.begin
    if begin.goes_on and begin.seeds is not None:
        raise JaxcharError("--seeds goes on with its runs by itself; give the same command without --resume")
    if begin.goes_on and begin.run_dir is None:
        raise JaxcharError("--resume and --initial-epoch need --run-dir, the run to continue")
    if begin.goes_on and typed.plan:
        raise JaxcharError("--plan is for a new run, and a resumed run keeps its settings; leave it out")
    if typed.plan and begin.seeds is not None:
        raise JaxcharError("--plan shows the plan of one run; leave --seeds out to see it")


def _callbacks(typed: TypedSettings) -> "list[Callback]":
    """Return the logger that was asked for, if one was."""
    if typed.shown.logger is None:
        return []
    from jaxchar.training.loggers import logger_named

    return [logger_named(typed.shown.logger)]


if __name__ == "__main__":
    main()

"""What a command prints beside its results: one-line errors with exit code 2, warnings, notes."""

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from jaxchar.cli.collector import seldom_collected
from jaxchar.cli.streams import streams_that_lose_nothing
from jaxchar.errors import JaxcharError, bounded, in_callers_words, speaking
from jaxchar.terminal.visible import visible


def fail(message: str) -> NoReturn:
    """Print one line on standard error and leave with exit code 2."""
    print("error: " + visible(re.sub(r"\s*\n\s*", " ", bounded(message).strip())), file=sys.stderr)
    raise SystemExit(2)


def warn(lines: Iterable[str]) -> None:
    """Print each line as a warning on standard error; it may quote a checkpoint of any origin."""
    for line in lines:
        print(f"warning: {visible(in_callers_words(line))}", file=sys.stderr)


def note(lines: Iterable[str]) -> None:
    """Print each line as a note on standard error: nothing is wrong."""
    for line in lines:
        print(f"note: {visible(in_callers_words(line))}", file=sys.stderr)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error that the user caused as one line, with exit code 2; on Ctrl-C exit with code 130."""
    with speaking("command line"), streams_that_lose_nothing(), _errors_in_one_line(), seldom_collected():
        yield


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except JaxcharError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has left; that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        fail(
            f"{error.strerror or error}: {error.filename or 'a file'}; check that it can be read and written"
        )
    except ValueError as error:
        if not _is_about_jax_settings(error):
            raise
        fail(f"{error}; correct that environment variable, or unset it")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        fail(
            "the machine does not have enough memory for these settings; lower --batch-size, --seq-len or "
            "the sizes"
        )
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def _is_about_jax_settings(error: ValueError) -> bool:
    """Whether JAX found an invalid value for one of its settings in the environment."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and Path(frame.tb_frame.f_code.co_filename).parts[-3:] == (
        "jax",
        "_src",
        "config.py",
    )

"""What a command says beside its results: errors in one line with exit code 2, warnings, notes."""

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from jaxchar.cli.streams import streams_that_lose_nothing
from jaxchar.errors import JaxcharError, bounded, in_callers_words, speaking
from jaxchar.terminal.visible import visible


def fail(message: str) -> NoReturn:
    """Print one line on standard error and leave with exit code 2."""
    print("error: " + visible(re.sub(r"\s*\n\s*", " ", bounded(message).strip())), file=sys.stderr)
    raise SystemExit(2)


def warn(lines: Iterable[str]) -> None:
    """Print a line of warning each on standard error; a checkpoint from anywhere may have worded it."""
    for line in lines:
        print(f"warning: {visible(in_callers_words(line))}", file=sys.stderr)


def note(lines: Iterable[str]) -> None:
    """Print a line each on standard error that is no cause for worry."""
    for line in lines:
        print(f"note: {visible(in_callers_words(line))}", file=sys.stderr)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that the user caused into one line and exit code 2; Ctrl-C into exit code 130."""
    with speaking("command line"), streams_that_lose_nothing(), _errors_in_one_line():
        yield


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except JaxcharError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has left: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or 'a file'}; see that it can be read and written")
    except ValueError as error:
        if not _is_about_jax_settings(error):
            raise
        fail(f"{error}; correct that variable of the environment, or unset it")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        fail("the machine has not enough memory for these settings; lower --batch-size, --seq-len or sizes")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def _is_about_jax_settings(error: ValueError) -> bool:
    """Whether JAX found a value in the environment that is none of its settings'."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and Path(frame.tb_frame.f_code.co_filename).parts[-3:] == (
        "jax",
        "_src",
        "config.py",
    )

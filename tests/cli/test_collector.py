"""Python's garbage collector, which commands call on seldom."""

import atexit
import gc
import subprocess
import sys

import pytest

from jaxchar.cli.collector import SELDOM, seldom_collected
from jaxchar.cli.messages import one_line_errors


@pytest.fixture(autouse=True)
def no_handler_left():
    yield
    atexit.unregister(gc.freeze)


def test_a_command_collects_seldom_and_leaves_its_caller_as_it_was():
    before = gc.get_threshold()
    with one_line_errors():
        assert gc.get_threshold()[0] == SELDOM
    assert gc.get_threshold() == before


def test_a_command_that_fails_leaves_its_caller_as_it_was():
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="wrong"), seldom_collected():
        raise ValueError("wrong")
    assert gc.get_threshold() == before


def test_what_is_left_at_the_end_of_the_process_is_not_looked_through():
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1_000))\n"
        "from jaxchar.cli.collector import seldom_collected\n"
        "for _ in range(2):\n    with seldom_collected(): pass\n"
    )
    # The handler that was registered last is called first.
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"

"""Python's garbage collector, which commands call on seldom: they start and end sooner."""

import atexit
import contextlib
import gc
from collections.abc import Iterator

# Objects that are made before the collector looks for those in circles; Python's own number is 700, or 2,000.
# JAX and what it needs make a million objects that all stay, and looking through them again and again takes
# 0.4 s of a start of 2.5.
SELDOM = 200_000


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect garbage seldom until the block ends, and not once more when the process ends."""
    before = gc.get_threshold()
    gc.set_threshold(SELDOM, *before[1:])
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)  # the last collection passes over what is frozen
    try:
        yield
    finally:
        gc.set_threshold(*before)

"""What a request may say: JSON of bounded size and depth, with known names, types and ranges; nothing else.

Whatever anybody sends goes through :func:`parsed` and :func:`checked` before a function sees it.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jaxchar.errors import quoted
from jaxchar.playground.refusal import TOO_LARGE, Refusal

MOST_BYTES = 1 << 20  # of a body
DEEPEST = 8  # objects and arrays in one another
MOST_CHARS = 20_000  # of a text
MOST_DIGITS = 30  # of a number
MOST_ITEMS = 2_000  # of an array
MISSING = object()

# A string, or a bracket. A string without an end goes to the end of the text, and what was read once is not
# read again (``++``): else a text of quotation marks would take time in the square of its length.
_PIECES = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)

# Returns the value that the server works with, or raises a Refusal; it is given the name and what was sent.
Check = Callable[[str, Any], Any]


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    Raises:
        Refusal: it is too long, too deep, no JSON, or no object; or a number in it is none or too large.
    """
    if len(body) > MOST_BYTES:
        raise too_many_bytes()
    try:
        text = body.decode("utf-8")
        _check_depth(text)
        record = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
        )
    except Refusal:
        raise
    except (RecursionError, ValueError) as error:
        reason = quoted(str(error)[:100])
        raise Refusal(f"the request must be a JSON object in UTF-8, but it is none: {reason}") from None
    if not isinstance(record, dict):
        raise Refusal(f"the request must be a JSON object, but it is {quoted(record)}")
    return record


def checked(record: Mapping[str, Any], checks: Mapping[str, tuple[Check, Any]]) -> dict[str, Any]:
    """Return what a request says, every name checked.

    Args:
        record: what was sent.
        checks: for each name how to check it, and its value where it is left out; MISSING: it must be there.

    Raises:
        Refusal: a name is missing or unknown, or has a value that it cannot have.
    """
    unknown = sorted(record.keys() - checks.keys())
    if unknown:
        raise Refusal(f"there is no {quoted(unknown[0])} in this request; there are {', '.join(checks)}")
    found = {}
    for name, (check, default) in checks.items():
        if name not in record and default is MISSING:
            raise Refusal(f"{name} is missing in this request; send it")
        found[name] = check(name, record[name]) if name in record else default
    return found


def too_many_bytes() -> Refusal:
    """Return the error of a body that is too long."""
    return Refusal(f"the request must have at most {MOST_BYTES:,} bytes; send less", TOO_LARGE)


# ---- checks of one value -------------------------------------------------------------------------


def whole(low: int, high: int) -> Check:
    """Return a check for a whole number in a range."""

    def check(name: str, value: Any) -> int:
        if not _is_number(value) or value != int(value) or not low <= value <= high:
            raise Refusal(
                f"{name} must be a whole number from {low:,} to {high:,}, but it is {quoted(value)}"
            )
        return int(value)

    return check


def number(low: float, high: float) -> Check:
    """Return a check for a number in a range."""

    def check(name: str, value: Any) -> float:
        if not _is_number(value) or not low <= value <= high:
            raise Refusal(f"{name} must be a number from {low:g} to {high:g}, but it is {quoted(value)}")
        return float(value)

    return check


def text(most: int = MOST_CHARS) -> Check:
    """Return a check for a text of so many characters at most."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise Refusal(f"{name} must be a text, but it is {quoted(value)}")
        if len(value) > most:
            raise Refusal(f"{name} must have at most {most:,} characters, but it has {len(value):,}")
        return value

    return check


def one_of(*choices: str) -> Check:
    """Return a check for one of some words."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Refusal(f"{name} must be one of {', '.join(choices)}, but it is {quoted(value)}")
        return value

    return check


def optional(check: Check) -> Check:
    """Return a check that also lets null pass."""
    return lambda name, value: None if value is None else check(name, value)


def several(check: Check, most: int = MOST_ITEMS) -> Check:
    """Return a check for an array of things, so many at most."""

    def check_all(name: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Refusal(f"{name} must be an array, but it is {quoted(value)}")
        if len(value) > most:
            raise Refusal(f"{name} must have at most {most:,} parts, but it has {len(value):,}")
        return [check(f"part {place} of {name}", each) for place, each in enumerate(value)]

    return check_all


def object_of(**checks: tuple[Check, Any]) -> Check:
    """Return a check for an object with names of its own, see :func:`checked`."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refusal(f"{name} must be an object, but it is {quoted(value)}")
        return checked(value, checks)

    return check


def pair(name: str, value: Any) -> tuple[int, int]:
    """Check a pair of positions, the first one below the second."""
    is_pair = isinstance(value, list) and len(value) == 2
    begin, end = several(whole(0, MOST_CHARS))(name, value) if is_pair else (0, 0)
    if begin >= end:
        raise Refusal(f"{name} must be two positions [begin, end], begin below end, not {quoted(value)}")
    return begin, end


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---- JSON ----------------------------------------------------------------------------------------


def _check_depth(text: str) -> None:
    depth = 0
    for piece in _PIECES.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece[0], 0)
        if depth > DEEPEST:
            raise Refusal(f"the request must be at most {DEEPEST} levels deep, but it is deeper")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise Refusal("a name stands twice in an object of the request; send each name once")
    return dict(pairs)


def _no_number(word: str) -> float:
    raise Refusal(f"{word} is no number of JSON; send a finite one")


def _finite(digits: str) -> float:
    value = float(digits) if len(digits) <= MOST_DIGITS else math.inf
    if not math.isfinite(value):
        raise Refusal(f"the number {quoted(digits)} is too large or too long; send another one")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise Refusal(f"the number {quoted(digits)} is too long; send a smaller one")
    return int(digits)

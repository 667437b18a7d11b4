"""The requests of the playground: which names each has, in which ranges, and with which defaults."""

from jaxchar.model.held_units import MOST_VALUE
from jaxchar.playground.validation import (
    MISSING,
    MOST_CHARS,
    Check,
    number,
    object_of,
    one_of,
    optional,
    pair,
    several,
    text,
    whole,
)

MOST_HELD = 256  # units
MOST_LAYERS, MOST_UNITS = 100, 1 << 20
MOST_STEP = 2**53 - 1  # the largest whole number of JavaScript

Checks = dict[str, tuple[Check, object]]

_HELD = several(
    object_of(
        layer=(whole(0, MOST_LAYERS), MISSING),
        unit=(whole(0, MOST_UNITS), MISSING),
        value=(number(-MOST_VALUE, MOST_VALUE), 0.0),
    ),
    MOST_HELD,
)
_MARKED = object_of(text=(text(), MISSING), spans=(several(pair), MISSING))
_MODEL: Checks = {
    "model": (text(200), MISSING),
    "step": (optional(whole(0, MOST_STEP)), None),
    "held": (_HELD, ()),
}
_SO_FAR: Checks = {"prompt": (text(), MISSING), "continued": (text(), "")}

WRITE: Checks = (
    _MODEL
    | _SO_FAR
    | {
        "length": (whole(1, MOST_CHARS), 500),
        "temperature": (number(0, 1000), 1.0),
        "top_k": (whole(0, MOST_UNITS), 0),
        "top_p": (number(0, 1), 1.0),
        "min_p": (number(0, 1), 0.0),
        "seed": (whole(0, 2**32 - 1), 0),
        "stop": (optional(several(text(1000), 32)), None),
        "memory": (number(0, 1), 0.0),
    }
)
ALTERNATIVES: Checks = (
    _MODEL
    | _SO_FAR
    | {
        "count": (whole(1, 1000), 10),
        "memory": (number(0, 1), 0.0),
    }
)
READ: Checks = _MODEL | {
    "text": (text(), MISSING),
    "memory": (one_of("none", "static", "growing"), "none"),
}
CELLS: Checks = _MODEL | {
    "text": (text(), MISSING),
    "layer": (whole(0, MOST_LAYERS), 0),
    "part": (text(10), "h"),
}
FIND: Checks = _MODEL | {
    "pattern": (optional(text(100)), None),
    "marked": (optional(_MARKED), None),
    "layer": (optional(whole(0, MOST_LAYERS)), None),
    "part": (text(10), "h"),
}

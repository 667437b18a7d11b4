"""Patterns of a text that a unit may know of: inside quotation marks, the position in the line, upper case.

A pattern gives every character a label, from that character and those before it: yes or no, or a quantity.
The state of a network after a character may know it, because the character has just been read.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxchar.errors import JaxcharError, quoted

BRACKETS = {")": "(", "]": "[", "}": "{"}  # what each of them closes


class Pattern(NamedTuple):
    """A kind of label for the characters of a text."""

    id: str
    name: str
    explanation: str
    labels: Callable[[str], np.ndarray]  # of a text of T characters: [T] float64


def pattern_named(name: str) -> Pattern:
    """Return one of :data:`PATTERNS` by its id.

    Raises:
        JaxcharError: there is none of that name.
    """
    if isinstance(name, str) and name in PATTERNS:
        return PATTERNS[name]
    raise JaxcharError(f"pattern must be one of {', '.join(PATTERNS)}, but it is {quoted(name)}")


# ---- labels --------------------------------------------------------------------------------------


def _position_in_line(text: str) -> np.ndarray:
    """Return how many characters of its line come before each character."""
    places = np.arange(len(text))
    begins = np.zeros(len(text), np.intp)
    after_break = _previous_is(text, "\n")
    begins[after_break] = places[after_break]
    return (places - np.maximum.accumulate(begins)).astype(np.float64)


def _inside_quotes(text: str) -> np.ndarray:
    """Return 1 from an opening double quotation mark to the character before the closing one.

    A straight mark opens and closes by turns. An empty line closes: a mark that was forgotten would turn
    round all that follows.
    """
    labels, inside, previous = np.zeros(len(text)), False, ""
    for place, character in enumerate(text):
        if character == '"':
            inside = not inside
        elif character in "\u201c\u201e":  # of which the first also closes German quotations
            inside = not (inside and character == "\u201c")
        elif character == "\u201d" or (character == "\n" and previous == "\n"):
            inside = False
        labels[place] = inside
        previous = character
    return labels


def _inside_brackets(text: str) -> np.ndarray:
    """Return 1 from an opening bracket to the character before its partner; without a partner, none."""
    change, opened = np.zeros(len(text) + 1), []
    for place, character in enumerate(text):
        if character in "([{":
            opened.append(place)
        elif opened and character in BRACKETS:
            if text[opened[-1]] == BRACKETS[character]:
                begin = opened.pop()
                change[begin] += 1
                change[place] -= 1
            else:  # the innermost one was never closed
                opened.pop()
    return (np.cumsum(change)[:-1] > 0).astype(np.float64)


def _indentation(text: str) -> np.ndarray:
    """Return how many spaces and tabs begin the line, as far as it was read."""
    depth, labels, is_begin = 0, np.zeros(len(text)), True
    for place, character in enumerate(text):
        if character == "\n":
            depth, is_begin = 0, True
        elif is_begin and character in " \t":
            depth += 1
        else:
            is_begin = False
        labels[place] = depth
    return labels


def _begins_word(text: str) -> np.ndarray:
    letters = _where(str.isalpha)(text)
    return letters * (1 - np.concatenate([[0.0], letters[:-1]]))


def _begins_line(text: str) -> np.ndarray:
    return _previous_is(text, "\n").astype(np.float64)


def _previous_is(text: str, wanted: str) -> np.ndarray:
    """Return whether the character before each one is the one wanted, [T] bool."""
    return np.array([False, *(character == wanted for character in text[:-1])][: len(text)], bool)


def _where(holds: Callable[[str], bool]) -> Callable[[str], np.ndarray]:
    def labels(text: str) -> np.ndarray:
        known = {character: float(holds(character)) for character in set(text)}
        return np.array([known[character] for character in text], np.float64)

    return labels


# In the order in which they are shown.
PATTERNS = {
    pattern.id: pattern
    for pattern in (
        Pattern("line_position", "Position in the line", "how far from the line's start", _position_in_line),
        Pattern("quotes", "Inside quotation marks", 'between " and "', _inside_quotes),
        Pattern("brackets", "Inside brackets", "between ( and ), [ and ], or { and }", _inside_brackets),
        Pattern("upper_case", "Upper case", "the character is a capital letter", _where(str.isupper)),
        Pattern("space", "After a space", "a space has just been read", _where(" ".__eq__)),
        Pattern("word_start", "Start of a word", "the first letter after none", _begins_word),
        Pattern("line_start", "Start of a line", "the first character after a line break", _begins_line),
        Pattern("digits", "Digits", "the character is a digit", _where(str.isdigit)),
        Pattern("indentation", "Depth of indentation", "spaces and tabs that begin the line", _indentation),
    )
}

"""Patterns: the label of every character, by hand."""

import numpy as np
import pytest

from jaxchar.errors import JaxcharError
from jaxchar.scoring.text_patterns import PATTERNS, pattern_named

MARKS = {
    "line_position": ("ab\ncd\n\ne", [0, 1, 2, 0, 1, 2, 0, 0]),
    "quotes": ('a"b"c"d\n\ne', [0, 1, 1, 0, 0, 1, 1, 1, 0, 0]),
    "brackets": ("(a[b]))c(", [1, 1, 1, 1, 1, 0, 0, 0, 0]),
    "upper_case": ("aBÄ1 ", [0, 1, 1, 0, 0]),
    "space": ("a b\n", [0, 1, 0, 0]),
    "word_start": ("ab c2d", [1, 0, 0, 1, 0, 1]),
    "line_start": ("ab\nc\n\nd", [0, 0, 0, 1, 0, 1, 1]),
    "digits": ("a12b", [0, 1, 1, 0]),
    "indentation": ("  a b\n\tc\nd", [1, 2, 2, 2, 2, 0, 1, 1, 0, 0]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_labels_are_those_counted_by_hand(name):
    text, expected = MARKS[name]
    labels = PATTERNS[name].labels(text)
    assert labels.dtype == np.float64
    np.testing.assert_array_equal(labels, expected)


def test_curly_and_german_quotation_marks_open_and_close():
    labels = PATTERNS["quotes"].labels("a\u201cb\u201dc\u201ed\u201ce")
    np.testing.assert_array_equal(labels, [0, 1, 1, 0, 0, 1, 1, 0, 0])


def test_a_bracket_without_partner_labels_nothing():
    assert not PATTERNS["brackets"].labels("a(b]c)d(e").any()


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("text", ["", "\n", "\ud800", '"(\U0001f600)"'])
def test_every_pattern_labels_any_text(name, text):
    assert PATTERNS[name].labels(text).shape == (len(text),)


def test_an_unknown_pattern_is_refused_with_the_list():
    with pytest.raises(
        JaxcharError, match=r"pattern must be one of line_position, quotes, .* but it is 'quote'"
    ):
        pattern_named("quote")

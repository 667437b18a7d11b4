"""Characters to ids and back: an identity on any text, in an order that is nobody's accident."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxchar.data import vocabulary
from jaxchar.data.vocabulary import Adapted, UnknownCharactersError, Vocabulary
from jaxchar.errors import JaxcharError

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and astral characters too


@settings(deadline=None)
@given(any_text, any_text)
def test_decoding_is_the_inverse_of_encoding(text, more):
    known = Vocabulary(text + more)
    ids = known.encode(text)
    assert ids.shape == (len(text),)
    assert known.decode(ids) == text


@settings(deadline=None)
@given(any_text.filter(bool))
def test_an_id_is_the_place_of_its_character_in_code_point_order(text):
    assert Vocabulary(text).encode(text).tolist() == [sorted(set(text)).index(c) for c in text]


@settings(deadline=None)
@given(any_text.flatmap(lambda text: st.tuples(st.just(text), st.permutations(text))))
def test_the_order_of_a_text_does_not_matter(both):
    text, permuted = both
    one, other = Vocabulary(text), Vocabulary("".join(permuted) * 2)
    assert one == other
    assert hash(one) == hash(other)
    assert one.symbols == other.symbols


def test_vocabularies_of_other_symbols_differ():
    assert Vocabulary("ab") != Vocabulary("abc")
    assert Vocabulary("ab") != "ab"
    assert len(Vocabulary("abca")) == 3


@settings(deadline=None)
@given(any_text.filter(bool))
def test_json_gives_back_the_same_vocabulary(text):
    known = Vocabulary(text)
    returned = Vocabulary.from_json(json.loads(json.dumps(known.to_json())))
    assert returned == known
    assert returned.encode(text).tolist() == known.encode(text).tolist()


@pytest.mark.parametrize(
    "size, dtype",
    [(1, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)],
)
def test_ids_have_the_smallest_unsigned_type_that_holds_them(size, dtype):
    symbols = "".join(map(chr, range(100, 100 + size)))
    known = Vocabulary(symbols)
    ids = known.encode(symbols)
    assert known.dtype == ids.dtype == dtype
    assert ids[-1] == size - 1
    assert known.decode(ids) == symbols


@settings(deadline=None)
@given(any_text, st.integers(1, 5))
def test_a_text_longer_than_a_chunk_is_encoded_alike(text, chunk):
    whole = Vocabulary(text).encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "CHUNK", chunk)
        np.testing.assert_array_equal(Vocabulary(text).encode(text), whole)


@settings(deadline=None)
@given(any_text, any_text)
def test_unknown_characters_are_found_wherever_they_are(symbols, text):
    known = Vocabulary(symbols)
    unknown = known.unknown(text)
    assert unknown == "".join(sorted(set(text) - set(symbols)))
    if unknown:
        with pytest.raises(UnknownCharactersError, match=f"U\\+{ord(unknown[0]):04X}"):
            known.encode(text)
    else:
        known.encode(text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("abc", "no character 'c' (U+0063);"),
        ("a\u00e9\nb\u00e9", "no characters '\\n' (U+000A), '\u00e9' (U+00E9);"),
        ("\ud800", "no character '\\ud800' (U+D800);"),
        ("0123456789cde", "no characters '0' (U+0030), '1' (U+0031), "),
        ("0123456789cde", "'9' (U+0039) and 3 more;"),
    ],
)
def test_unknown_characters_are_named_but_at_most_ten(text, message):
    with pytest.raises(UnknownCharactersError) as refused:
        Vocabulary("ab").encode(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("unknown", "adapted"),
    [
        ("error", Adapted("aXb\u017c\u017cC\u00df", 0, 0)),
        ("skip", Adapted("ab", 0, 5)),
        ("replace", Adapted("a b  c ", 5, 0)),
    ],
)
def test_what_is_done_to_unknown_characters_is_counted(unknown, adapted):
    vocabulary = Vocabulary("abc ")
    assert vocabulary.adapt_and_count("aXb\u017c\u017cC\u00df", unknown) == adapted
    assert vocabulary.adapt("aXb\u017c\u017cC\u00df", unknown) == adapted.text


def test_where_nothing_can_stand_in_for_a_character_it_is_left_out():
    assert Vocabulary("ab").adapt_and_count("aXBx", "replace") == Adapted("ab", 1, 2)


def test_characters_on_both_sides_of_the_known_ones_are_unknown():
    for character in ("\0", "b", "d", "\U0010ffff"):
        with pytest.raises(UnknownCharactersError):
            Vocabulary("ce").encode(character)


def test_without_symbols_only_the_empty_text_can_be_written():
    assert Vocabulary("").decode(Vocabulary("").encode("")) == ""
    with pytest.raises(UnknownCharactersError):
        Vocabulary("").encode("\0")


@pytest.mark.parametrize(
    "symbols", [[], ["b", "a"], ["a", "a"], ["ab"], [""], ["a", 1], "ab", None, {"a": 0}], ids=str
)
def test_json_that_is_no_vocabulary_is_refused(symbols):
    with pytest.raises(JaxcharError, match="a vocabulary must"):
        Vocabulary.from_json(symbols)

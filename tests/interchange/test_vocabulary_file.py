"""Vocabularies: every form that is read, and pickles that would run code."""

import collections
import json
import pickle
import random

import numpy as np
import pytest

from jaxchar.errors import JaxcharError
from jaxchar.interchange.vocabulary_file import read_vocabulary

SYMBOLS = list("b\na é'")
V = len(SYMBOLS)
BY_ID = dict(enumerate(SYMBOLS))
BY_SYMBOL = {symbol: number for number, symbol in BY_ID.items()}


def written(tmp_path, content, name="vocabulary"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SYMBOLS),
        json.dumps(BY_ID),
        json.dumps(BY_SYMBOL),
        json.dumps({"idx_to_token": {str(i + 1): s for i, s in BY_ID.items()}, "token_to_idx": {}}),
        json.dumps({"token_to_idx": {s: i + 1 for s, i in BY_SYMBOL.items()}}),
        "".join(SYMBOLS),
        "".join(SYMBOLS) + "\n",
        "\ufeff" + "".join(SYMBOLS),
        *(pickle.dumps(BY_ID, protocol) for protocol in range(6)),
        pickle.dumps(BY_SYMBOL),
        pickle.dumps(SYMBOLS),
        pickle.dumps((BY_SYMBOL, BY_ID)),
        b"(dp1\nI0\nS'b'\np2\nsI1\nS'\\n'\np3\nsI2\nS'a'\np4\n"
        b"sI3\nS' '\np5\nsI4\nV\\u00e9\np6\nsI5\nS\"'\"\np7\ns.",
    ],
)
def test_every_form_gives_the_characters_in_the_order_of_their_ids(content, tmp_path):
    assert read_vocabulary(written(tmp_path, content), V) == SYMBOLS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps([*SYMBOLS, "x"]), "has 7 characters, but the model has 6"),
        (json.dumps([*SYMBOLS[1:], "a"]), "'a' has two ids"),
        (json.dumps([*SYMBOLS[1:], "<unk>"]), "id 5 is '<unk>', expected one character"),
        (json.dumps({**BY_SYMBOL, "b": 9}), "ids are not all of 0 to 5"),
        (json.dumps({"x": "y"}), "a key that is no id"),
        (json.dumps(3), "has 1 characters"),
        ("{" * 100_000, "'{' has two ids"),
        (b"\xff\xfe\xfd", "not UTF-8"),
        (b"", "has 0 characters"),
        (pickle.dumps(collections.OrderedDict(BY_ID)), "can run code"),
        (pickle.dumps({i: np.int64(3) for i in range(V)}), "can run code"),
        (b"\x80\x04r\xff\xff\xff\xff.", "too much memory"),
        (b"\x80\x04" + b"]" * 20_000 + b".", "too much memory"),
        (b"\x80\x04X\xff\xff\xff\x7f.", "no pickle"),
        (b"\x80\x04", "no pickle"),
        (b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.", "can run code"),
    ],
)
def test_what_is_no_vocabulary_is_one_line(content, said, tmp_path):
    with pytest.raises(JaxcharError) as raised:
        read_vocabulary(written(tmp_path, content), V)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_of_a_pickle_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    for protocol in range(6):
        path = written(tmp_path, pickle.dumps({0: Evil()}, protocol), "evil.pkl")
        with pytest.raises(JaxcharError, match="can run code"):
            read_vocabulary(path, V)
    assert not (tmp_path / "ran").exists()


def test_pickles_with_changed_bytes_are_read_or_refused(tmp_path):
    rng, refused = random.Random(0), 0
    for _ in range(300):
        data = bytearray(pickle.dumps(BY_ID, rng.randrange(6)))
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_vocabulary(written(tmp_path, bytes(data), "changed.pkl"), V)
        except JaxcharError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 150

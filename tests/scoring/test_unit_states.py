"""A part of the layers in pieces: the numbers of model.hidden_states, whatever the length."""

import numpy as np
import pytest
from small_model import make_model

from jaxchar.errors import JaxcharError
from jaxchar.scoring import unit_states
from jaxchar.scoring.unit_states import part_in_pieces, parts_of

TEXT = "abc de\nabba dec" * 3
WINDOWS = {"batching": "windows", "return_sequences": False}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cell": "gru"},
        {"cell": "rnn"},
        pytest.param(WINDOWS, marks=pytest.mark.slow),
        {**WINDOWS, "seq_len": 20},
    ],
)
def test_pieces_together_are_the_hidden_states(settings, monkeypatch):
    monkeypatch.setattr(unit_states, "PIECE_CHARS", 16)
    model = make_model(num_layers=2, **settings)
    ids, whole = model.encoded(TEXT), model.hidden_states(TEXT, gates=True)
    for part in parts_of(model):
        pieces = list(part_in_pieces(model, ids, part))
        assert [len(piece[0]) for piece in pieces] == [16, 16, 13]
        for number, layer in enumerate(whole):
            expected = {"h": layer.hidden, "c": layer.cell, **layer.gates}[part]
            found = np.concatenate([piece[number] for piece in pieces])
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_parts_are_those_of_the_cell():
    assert parts_of(make_model()) == ("h", "c", "i", "f", "g", "o")
    assert parts_of(make_model(cell="gru")) == ("h", "r", "z", "n")
    assert parts_of(make_model(cell="rnn")) == ("h",)


@pytest.mark.parametrize("part", ["c", "hc", "", "x"])
def test_a_part_that_the_cell_lacks_is_refused(part):
    model = make_model(cell="gru")
    with pytest.raises(JaxcharError, match="part must be one of h, r, z, n, but it is"):
        next(part_in_pieces(model, model.encoded("ab"), part))

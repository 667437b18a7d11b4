"""Texts that are made to fit a model."""

import pytest
from small_model import make_model

from jaxchar.playground.refusal import Refusal
from jaxchar.playground.texts import check_known, known_text


def test_what_a_model_does_not_know_is_left_out_or_refused():
    model = make_model()
    assert known_text(model, "ab\u202exc\r\n") == "abc\n"
    with pytest.raises(Refusal, match="no character that the model knows"):
        known_text(model, "xyz")
    with pytest.raises(Refusal, match=r"the prompt has characters that the model does not know, 'x'"):
        check_known("prompt", "abx", model)
    check_known("prompt", "abc", model)

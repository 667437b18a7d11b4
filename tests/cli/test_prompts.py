"""Prompts and stops from the command line are made to fit the training text, and that is told."""

import pytest
from small_model import make_model

from jaxchar.cli.prompts import fitted, with_fitted_stops
from jaxchar.config import SampleConfig
from jaxchar.errors import JaxcharError


@pytest.fixture(scope="module")
def writer():
    return make_model(lowercase=True).session


def test_a_prompt_is_lower_cased_with_a_note(writer, capsys):
    assert fitted(writer, "prompt", "AB") == "ab"
    assert capsys.readouterr().err.startswith("note: the prompt is read lower-cased")
    assert fitted(writer, "prompt", "ab") == "ab"
    assert capsys.readouterr().err == ""


def test_an_argument_that_the_locale_could_not_decode_is_read_as_utf_8(writer):
    typed = "caf\u00e9".encode().decode("ascii", "surrogateescape")
    assert fitted(writer, "prompt", typed) == "caf\u00e9"


def test_every_setting_gets_the_fitted_stops(writer):
    settings = [SampleConfig(stop=("AB",), temperature=temperature) for temperature in (0.5, 1.0)]
    assert [config.stop for config in with_fitted_stops(writer, settings)] == [("ab",)] * 2
    assert with_fitted_stops(writer, [SampleConfig()]) == [SampleConfig()]


def test_a_stop_that_can_never_come_up_is_refused(writer):
    with pytest.raises(JaxcharError, match="can never come up"):
        with_fitted_stops(writer, [SampleConfig(stop=("z",))])

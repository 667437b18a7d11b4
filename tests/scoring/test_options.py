"""Options of an evaluation are checked when they are given, and against the run's settings."""

import subprocess
import sys

import pytest

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.scoring.options import EvaluationOptions, MemorizationOptions


@pytest.mark.parametrize("name", ["block", "stride", "lanes"])
def test_a_number_below_1_is_refused(name):
    with pytest.raises(JaxcharError, match=f"{name} must be a whole number of 1 or more, but it is 0"):
        EvaluationOptions(**{name: 0})


@pytest.mark.parametrize(("kind", "owner"), [(EvaluationOptions, "corpus"), (MemorizationOptions, "text")])
def test_an_encoding_needs_a_text(kind, owner):
    with pytest.raises(JaxcharError, match=f"encoding is for {owner}"):
        kind(encoding="latin-1")
    assert kind(encoding="latin-1", **{owner: "a.txt"}).encoding == "latin-1"


def test_options_take_the_place_of_the_runs_settings():
    config = EvaluationOptions(protocol="blocks", block=32, corpus="a.txt").applied_to(
        Config(test_fraction=0.1)
    )
    assert (config.protocol, config.eval_block, config.sources) == ("blocks", 32, ("a.txt",))
    assert config.test_fraction == 0.1
    whole = EvaluationOptions(split="whole").applied_to(Config(test_fraction=0.1))
    assert (whole.val_fraction, whole.test_fraction, whole.separator) == (0.0, 0.0, None)


def test_an_option_of_another_protocol_is_refused():
    with pytest.raises(JaxcharError, match="is for protocol='blocks', but the protocol is stateful"):
        EvaluationOptions(block=32).applied_to(Config())


def test_options_do_not_wait_for_jax():
    program = "import sys, jaxchar.scoring.options; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

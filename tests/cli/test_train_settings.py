"""What a command line of train asks for, and what its options refuse."""

import pytest

from jaxchar.cli.train_arguments import Arguments, OtherProcesses, TimeAllowed, arguments_of
from jaxchar.cli.train_settings import parse_arguments
from jaxchar.config import Config
from jaxchar.errors import JaxcharError


def test_a_configuration_survives_its_groups_of_options():
    config = Config(hidden_size=(3, 4), corpus=("a.txt", "b.txt"), epochs=3, separator="\n")
    assert arguments_of(config).config() == config
    assert isinstance(arguments_of(config), Arguments)


def test_texts_take_the_place_of_the_corpus():
    typed = parse_arguments(None, ["a.txt", "--epochs", "3"])
    assert typed.config == Config(corpus="a.txt", epochs=3)
    assert typed.given == {"corpus", "epochs"}
    assert parse_arguments(None, ["a.txt", "b.txt"]).config.corpus == ("a.txt", "b.txt")
    with pytest.raises(JaxcharError, match="the text is given twice"):
        parse_arguments(None, ["a.txt", "--corpus", "b.txt"])


def test_an_experiment_keeps_all_settings_unless_the_time_is_given():
    default = Config(hidden_size=7)
    assert parse_arguments(default, []).given is None
    given = parse_arguments(default, ["--minutes", "3"]).given
    assert given is not None and "hidden_size" in given and "epochs" not in given


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("inf"), float("nan")])
def test_minutes_must_be_above_0(minutes):
    with pytest.raises(JaxcharError, match="minutes must be a number above 0"):
        TimeAllowed(minutes=minutes)


def test_processes_are_named_completely_or_not_at_all():
    with pytest.raises(JaxcharError, match="give all three"):
        OtherProcesses(coordinator="localhost:1", num_processes=2)
    assert OtherProcesses(coordinator="localhost:1", num_processes=2, process_id=0).process_id == 0

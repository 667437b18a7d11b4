"""Settings: what is refused and how it is said, the way to JSON and back, the price of the import."""

import dataclasses
import json
import math
import subprocess
import sys
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import promises
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxchar.config import (
    BatchConfig,
    Config,
    CorpusConfig,
    Interval,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
)
from jaxchar.errors import JaxcharError

GROUPS = (CorpusConfig, BatchConfig, ModelConfig, OptimizerConfig, RunConfig)
BASIS = {BatchConfig: {"batching": "windows"}}  # what the settings of a group need to be tried one by one


# ---- the declared fields, from which the cases are made ------------------------------------------


def hints(group: type) -> dict[str, Any]:
    return get_type_hints(group, include_extras=True)


def number_of(hint: Any) -> tuple[type, Interval] | None:
    """The type and interval of a numeric hint, also where it is optional or one of several."""
    if get_origin(hint) is Annotated:
        return get_args(hint) if get_args(hint)[0] is not str else None
    found = (number_of(part) for part in get_args(hint) if get_origin(hint) not in (Literal, tuple))
    return next(filter(None, found), None)


def items_of(hint: Any) -> tuple[type, Interval] | None:
    """The type and interval of the items of a hint that may be a tuple of numbers."""
    if get_origin(hint) is tuple:
        return number_of(get_args(hint)[0])
    found = (items_of(part) for part in get_args(hint) if get_origin(hint) not in (Literal, Annotated))
    return next(filter(None, found), None)


def bad_numbers(kind: type, interval: Interval) -> list[Any]:
    step = 1 if kind is int else 1e-9
    low = interval.low if interval.ends[0] == "(" else interval.low - step
    high = interval.high if interval.ends[1] == ")" else interval.high * (1 + 1e-9) + step
    low, high = (int(low), int(high)) if kind is int else (low, high)
    wrong_type = ["1", True, {}, 1j, *([1.5, 1.0] if kind is int else [])]
    return [low, high, -math.inf, math.inf, math.nan, *wrong_type]


def numeric_cases() -> list[Any]:
    cases = []
    for group in GROUPS:
        for name, hint in hints(group).items():
            if number := number_of(hint):
                cases += [(group, name, bad) for bad in bad_numbers(*number)]
            if items := items_of(hint):
                cases += [(group, name, (items[1].high, bad)) for bad in bad_numbers(*items)]
                cases += [(group, name, ())]
    return [pytest.param(*case, id=f"{case[1]}={case[2]!r}") for case in cases]


def accepted(hint: Any) -> st.SearchStrategy:
    """Values that a hint allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if parts[0] is str:  # of a cell of one's own; none is registered
            return st.nothing()
        kind, (low, high, ends) = parts
        if kind is int:
            return st.integers(low, high)
        return st.floats(low, high, exclude_min=ends[0] == "(", exclude_max=ends[1] == ")")
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        return st.lists(accepted(parts[0]), min_size=1, max_size=3).map(tuple)
    if parts:
        return st.one_of([accepted(part) for part in parts])
    return {str: st.text(max_size=3), bool: st.booleans(), type(None): st.none()}[hint]


SETTINGS = hints(Config)
some_settings = (
    st.lists(st.sampled_from(sorted(SETTINGS)), max_size=6, unique=True)
    .flatmap(lambda names: st.fixed_dictionaries({name: accepted(SETTINGS[name]) for name in names}))
    .map(lambda chosen: {"batching": "windows"} | chosen)
)


# ---- what is refused -----------------------------------------------------------------------------


def test_the_cases_are_generated_at_all():
    assert {case.values[1] for case in numeric_cases()} >= {
        "val_fraction",
        "hidden_size",
        "max_steps",
        "epsilon",
    }


@promises.ANY_SETTING
@pytest.mark.parametrize("group, name, bad", numeric_cases())
def test_a_number_out_of_range_or_of_the_wrong_type_is_refused_by_name(group, name, bad):
    with pytest.raises(JaxcharError, match=rf"^{name} must be .*, but it is "):
        group(**(BASIS.get(group, {}) | {name: bad}))


@promises.ANY_SETTING
@pytest.mark.parametrize("group, name", [(group, name) for group in GROUPS for name in hints(group)])
def test_a_thing_that_is_no_setting_at_all_is_refused_by_name(group, name):
    with pytest.raises(JaxcharError, match=rf"^{name} must be .*, but it is <object"):
        group(**{name: object()})


@pytest.mark.parametrize(
    "group, name, bound",
    [
        (group, name, bound)
        for group in GROUPS
        for name, hint in hints(group).items()
        if (number := number_of(hint))
        for bound, end in zip(number[1], number[1].ends, strict=False)
        if end in "[]" and not (name.endswith("_fraction") and bound == 1)  # refused by their sum
    ],
)
def test_the_ends_of_a_closed_interval_are_accepted(group, name, bound):
    assert getattr(group(**(BASIS.get(group, {}) | {name: bound})), name) == bound


@promises.ANY_SETTING
@pytest.mark.parametrize(
    "message, given",
    [
        ("val_fraction.*test_fraction", {"val_fraction": 0.5, "test_fraction": 0.5}),
        ("val_fraction", {"val_fraction": 1.0}),
        ("fill", {"fill": ""}),
        ("fill", {"fill": "ab"}),
        ("stateful.*shuffle", {"batching": "windows", "shuffle": True, "stateful": True}),
        ("shuffle.*windows", {"shuffle": True}),
        ("stride.*windows", {"stride": 2}),
        ("max_windows.*windows", {"max_windows": 5}),
        ("return_sequences.*windows", {"return_sequences": False}),
        ("lane_offsets.*streams", {"batching": "windows", "lane_offsets": True}),
        ("sample_from.*streams", {"batching": "windows", "sample_from": "training"}),
        ("eval_protocol.*windows", {"eval_protocol": "windows"}),
        (
            "eval_protocol.*return_sequences",
            {"batching": "windows", "return_sequences": False, "eval_protocol": "blocks"},
        ),
        (
            "eval_protocol.*return_sequences",
            {"batching": "windows", "return_sequences": False, "eval_protocol": "stateful"},
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(message, given):
    with pytest.raises(JaxcharError, match=message) as refused:
        Config(**given)
    assert "\n" not in str(refused.value)


@promises.ANY_SETTING
def test_a_whole_number_beyond_all_floats_is_refused():
    with pytest.raises(JaxcharError, match=r"^batch_size must be "):
        Config(batch_size=10**400)


def test_a_copy_with_changes_is_checked_anew():
    assert Config().replace(epochs=3).epochs == 3
    with pytest.raises(JaxcharError, match="epochs"):
        Config().replace(epochs=-1)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3


# ---- to and from JSON ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(some_settings)
def test_json_gives_back_what_it_was_given(chosen):
    try:
        config = Config(**chosen)
    except JaxcharError:
        assume(False)
    returned = Config.from_json(json.loads(json.dumps(config.to_json())))
    assert returned == config
    assert hash(returned) == hash(config)  # lists have become tuples again


def test_json_holds_every_setting_in_the_order_of_the_fields():
    assert list(Config().to_json()) == [field.name for field in dataclasses.fields(Config)]


def test_what_json_lacks_takes_its_default():
    assert Config.from_json({"epochs": 3}) == Config(epochs=3)


def test_json_with_unknown_names_is_refused_with_all_of_them():
    with pytest.raises(JaxcharError, match="epoch, hiden_size"):
        Config.from_json({"hiden_size": 5, "epoch": 3, "seed": 1})


def test_json_with_a_value_out_of_range_is_refused():
    with pytest.raises(JaxcharError, match="hidden_size"):
        Config.from_json({"hidden_size": [64, 0]})


# ---- what follows from the settings --------------------------------------------------------------


def test_changes_are_described_except_the_ignored_ones():
    here, there = Config(seed=1), Config(seed=2, epochs=9, hidden_size=(3, 4))
    assert here.describe_changes(here) == []
    described = here.describe_changes(there, ignoring=("seed",))
    assert sorted(described) == ["epochs: 8 -> 9", "hidden_size: 512 -> [3, 4]"]


@pytest.mark.parametrize(
    "given, name, expected",
    [
        ({"hidden_size": 7, "num_layers": 3}, "layer_sizes", (7, 7, 7)),
        ({"hidden_size": [7, 5]}, "layer_sizes", (7, 5)),
        ({"corpus": "a.txt"}, "sources", ("a.txt",)),
        ({"corpus": ["a.txt", "b.txt"]}, "sources", ("a.txt", "b.txt")),
        ({}, "carries_state", True),
        ({"batching": "windows"}, "carries_state", False),
        ({"batching": "windows", "stateful": True}, "carries_state", True),
        ({"stateful": False}, "carries_state", False),
        ({}, "protocol", "stateful"),
        ({"batching": "windows"}, "protocol", "windows"),
        ({"batching": "windows", "eval_protocol": "blocks"}, "protocol", "blocks"),
    ],
)
def test_what_is_left_open_follows_from_the_other_settings(given, name, expected):
    assert getattr(Config(**given), name) == expected


@pytest.mark.parametrize("module", ["jaxchar", "jaxchar.config"])
def test_importing_the_settings_loads_no_numerical_library(module):
    program = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "jaxchar" in printed.split()
    assert not {"jax", "jaxlib", "numpy", "flax", "optax", "orbax"} & set(printed.split())


def test_reading_a_model_does_not_wait_for_the_library_that_writes_it():
    program = "import sys, jaxchar.language_model, jaxchar.checkpoint.find; print('orbax' in sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed == "False\n"

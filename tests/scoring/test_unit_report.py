"""Units that tell a pattern: figures against counting every pair, and a unit that was built to know one."""

import jax
import numpy as np
import pytest
from small_model import make_model

from jaxchar import unit_report
from jaxchar.errors import JaxcharError
from jaxchar.scoring.unit_report import areas_under_curve, best_threshold, unit_report_steps

TEXT = "ab cade\n" * 40


def by_pairs(values, labels):
    """Count pairs, each weighed by how far its labels lie apart; equal values count half."""
    apart = labels[:, None] - labels[None, :]
    higher = (values[:, None] > values[None, :]) + 0.5 * (values[:, None] == values[None, :])
    weights = np.maximum(apart, 0)
    return (weights * higher).sum() / weights.sum()


@pytest.mark.parametrize("kinds", [2, 5])
def test_areas_are_those_of_counting_pairs(kinds):
    random = np.random.default_rng(kinds)
    labels = random.integers(0, kinds, 80).astype(float)
    values = np.round(random.normal(size=(80, 3)) + 0.3 * labels[:, None], 1)  # with equal ones
    expected = [by_pairs(column, labels) for column in values.T]
    np.testing.assert_allclose(areas_under_curve(values, labels), expected, atol=1e-12)


def test_a_perfect_unit_has_one_its_negative_zero_and_a_constant_a_half():
    labels = np.array([0.0, 1, 1, 0, 1])
    values = np.stack([labels, -labels, np.ones(5)], axis=1)
    np.testing.assert_allclose(areas_under_curve(values, labels), [1, 0, 0.5], atol=1e-12)


def test_the_threshold_lies_between_the_two_kinds():
    values, positive = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    assert best_threshold(values, positive, 1) == pytest.approx(0.5)
    assert best_threshold(values, ~positive, -1) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def knowing():
    """Return a model whose unit 5 of layer 0 is high at a space, and whose unit 2 is low there."""
    model = make_model(cell="rnn", num_layers=2)
    params = jax.tree.map(np.array, model.params)
    layer, space = params["layers"][0], model.encoded(" ")[0]
    for unit, sign in ((5, 1), (2, -1)):
        layer["input_kernel"][:, unit] = 0
        layer["recurrent_kernel"][:, unit] = 0
        layer["bias"][unit] = 0
        layer["input_kernel"][space, unit] = sign
    return model.with_params(params)


def test_the_units_that_were_built_to_know_a_pattern_come_first(knowing):
    report = unit_report(knowing, TEXT, "space", best=3)
    assert {(unit.layer, unit.unit, unit.sign) for unit in report.units[:2]} == {(0, 5, 1), (0, 2, -1)}
    assert [unit.auc for unit in report.units[:2]] == [1.0, 1.0]
    assert len(report.units) == 3 and report.units[2].auc <= 1
    assert report.units[0].threshold == pytest.approx(np.tanh(1) / 2 * report.units[0].sign)
    assert report.characters == len(TEXT) and report.share == pytest.approx(1 / 8)
    assert report.areas[0, "h"].shape == (8,) and report.areas[0, "h"][2] == 0


def test_labels_and_spans_of_ones_own_find_the_same_units(knowing):
    labels = [character == " " for character in TEXT]
    spans = [(place, place + 1) for place, is_space in enumerate(labels) if is_space]
    named = unit_report(knowing, TEXT, "space")
    for pattern in (labels, np.array(labels, float), spans):
        assert unit_report(knowing, TEXT, pattern).units == named.units


def test_layers_and_parts_can_be_chosen():
    model = make_model(num_layers=2)
    report = unit_report(model, TEXT, "line_position", layers=[1], parts=("c", "f"), best=99)
    assert report.areas.keys() == {(1, "c"), (1, "f")}
    assert len(report.units) == 16 and {unit.layer for unit in report.units} == {1}
    assert all(unit.auc >= 0.5 for unit in report.units)
    assert list(report.units) == sorted(report.units, key=lambda unit: -unit.auc)


def test_progress_is_told_up_to_the_end_and_what_it_raises_ends_the_work(knowing):
    told = []
    unit_report(knowing, TEXT, "space", on_progress=lambda done, of: told.append((done, of)))
    assert told == [(n, 4) for n in (1, 2, 3, 4)]  # two pieces of text, two layers
    steps = list(unit_report_steps(knowing, TEXT, "space"))
    assert steps[:-1] == told

    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unit_report(knowing, TEXT, "space", on_progress=stop)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pattern": "nothing"}, "pattern must be one of"),
        ({"pattern": "digits"}, "every character of the text has the same label"),
        ({"pattern": [1, 0]}, "320 numbers"),
        ({"pattern": [(5, 5)]}, "pairs of positions must lie in the text"),
        ({"pattern": [(0, 999)]}, "pairs of positions must lie in the text"),
        ({"pattern": [float("nan")] * len(TEXT)}, "320 numbers"),
        ({"pattern": ["x"]}, "320 numbers"),
        ({"pattern": "space", "layers": [1]}, "layers must be numbers from 0 to 0"),
        ({"pattern": "space", "parts": ["q"]}, "part must be one of h"),
        ({"pattern": "space", "text": ""}, "the text is empty"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_line(given, said):
    with pytest.raises(JaxcharError, match=said):
        unit_report(make_model(cell="rnn"), **{"text": TEXT, **given})

"""The figures of a run, read while it may still be writing them."""

import json

import numpy as np
import pytest

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.training.metrics import METRICS

LINES = [{"step": 5, "train_loss": 2.5}, {"step": 7, "val_loss": 2.0}, {"step": 10, "train_loss": 2.25}]


def write(folder, lines=LINES, end=""):
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return folder


def test_each_figure_is_two_arrays_of_one_length(tmp_path):
    metrics = jaxchar.read_metrics(write(tmp_path))
    assert metrics.keys() == {"train_loss", "val_loss"}
    np.testing.assert_array_equal(metrics["train_loss"].steps, [5, 10])
    np.testing.assert_array_equal(metrics["train_loss"].values, [2.5, 2.25])
    assert (metrics["val_loss"].steps.dtype, metrics["val_loss"].values.dtype) == (np.int64, np.float64)
    assert metrics["val_loss"]._asdict().keys() == {"steps", "values"}  # the columns of a data frame


def test_what_is_logged_twice_at_a_step_is_there_once(tmp_path):
    lines = [{"step": 5, "train_loss": 2.0, "seconds": 1.0}, {"step": 5, "val_loss": 3.0, "seconds": 1.0}]
    metrics = jaxchar.read_metrics(write(tmp_path, [*lines, {"step": 6, "seconds": 2.0}]))
    assert metrics["seconds"].steps.tolist() == [5, 6]
    assert metrics["seconds"].values.tolist() == [1.0, 2.0]


def test_a_last_line_cut_anywhere_is_left_out(tmp_path):
    last = json.dumps({"step": 12, "val_loss": 1.5, "note": 3})
    for length in range(1, len(last)):
        metrics = jaxchar.read_metrics(write(tmp_path, end=last[:length]))
        assert metrics["val_loss"].steps.tolist() == [7]


FOREIGN_LINES = [
    *("", "{", "[1]", "3", "[" * 9999, "\udcff"),
    *('{"loss": 2}', '{"step": "a"}', '{"step": -1}', '{"step": true}', '{"step": 1.5}'),
    *('{"step": 1, "loss": "x"}', '{"step": 1, "loss": 1' + "0" * 400 + "}"),
]


@pytest.mark.parametrize("line", FOREIGN_LINES)
def test_a_line_that_no_run_writes_is_named(line, tmp_path):
    text = json.dumps(LINES[0]) + "\n" + line + "\n" + json.dumps(LINES[1]) + "\n"
    (tmp_path / METRICS).write_text(text, errors="surrogateescape")
    with pytest.raises(JaxcharError, match="line 2 of") as raised:
        jaxchar.read_metrics(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("run", ["no-such", "a\0b", 5, None, "~no-such-user/x"])
def test_what_is_no_run_is_refused_in_one_line(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JaxcharError):
        jaxchar.read_metrics(run)

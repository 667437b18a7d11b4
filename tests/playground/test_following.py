"""Curves, and a run that is followed while it goes on."""

import json
import shutil

import pytest

from jaxchar import read_metrics
from jaxchar.playground.events import Wait
from jaxchar.playground.following import curve, follow
from jaxchar.playground.library import Library


def of(work, library):
    run = library.run("small")
    return work(run.path, lambda: library.checkpoints(run))


def test_the_curve_is_that_of_the_metrics(library, runs):
    found, metrics = of(curve, library), read_metrics(runs / "small")
    assert [step for step, _ in found["train"]] == list(metrics["train_loss"].steps)
    assert [loss for _, loss in found["validation"]] == pytest.approx(
        list(metrics["val_loss"].values), abs=1e-5
    )
    assert found["finished"] is True and found["max_steps"] == 40


def test_a_run_is_followed_to_its_end(runs, tmp_path):
    shutil.copytree(runs / "small", tmp_path / "small")
    summary = tmp_path / "small" / "summary.json"
    text = summary.read_text()
    summary.unlink()
    events = of(follow, Library([tmp_path]))
    first = [next(events) for _ in range(3)]
    assert [event[0] for event in first[:2]] == ["metrics", "checkpoint"] and first[1][1] == {"step": 40}
    assert isinstance(first[2], Wait)
    assert first[0][1]["finished"] is False
    assert isinstance(next(events), Wait)  # nothing new
    with (tmp_path / "small" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 45, "train_loss": 1.5}) + "\n")
    assert next(events) == (
        "metrics",
        {"train": [[45, 1.5]], "validation": [], "finished": False, "max_steps": 40},
    )
    summary.write_text(text.replace('"steps": 40', '"steps": 45'))
    assert [event[0] for event in events if not isinstance(event, Wait)] == ["finished"]

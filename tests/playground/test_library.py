"""Runs and their models: found below the named folders, loaded once, the last ones kept."""

import shutil
import threading

import numpy as np
import pytest

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.playground import library as library_module
from jaxchar.playground.library import Library, Wanted
from jaxchar.playground.refusal import Refusal


def test_a_run_is_described_by_its_checkpoints(library, runs):
    (found,) = library.described()
    best = jaxchar.load(runs / "small")
    assert found["id"] == found["name"] == "small"
    assert (found["cell"], found["layers"], found["parts"]) == ("gru", [8], ["h", "r", "z", "n"])
    assert found["steps"] == [20, 40] and found["best_step"] in (20, 40)
    assert found["vocabulary"] == len(best.vocabulary) and found["default_prompt"] == "\n"
    assert found["has_memory"] is True and 0 < found["validation_loss"] < 5


def test_the_model_is_the_one_that_load_loads_and_is_loaded_once(library, runs):
    model = library.model(Wanted("small", None, memory=1.0))
    assert library.model(Wanted("small", None, memory=1.0)) is model
    np.testing.assert_array_equal(model.logits("the"), jaxchar.load(runs / "small").logits("the"))
    first = library.model(Wanted("small", 20))
    expected = jaxchar.load(runs / "small" / "checkpoints" / "20").logits("the")
    np.testing.assert_array_equal(first.logits("the"), expected)


def test_checkpoints_of_one_run_share_the_text_that_they_remember(library):
    models = [library.model(Wanted("small", step, memory=1.0)) for step in (20, 40)]
    assert models[0].remembering.memory is models[1].remembering.memory


def test_held_units_and_memory_make_other_models(library):
    plain = library.model(Wanted("small", 40))
    held = library.model(Wanted("small", 40, ((0, 3, 0.0),)))
    assert plain.remembering is None and held.remembering is None
    assert np.abs(np.asarray(plain.logits("the") - held.logits("the"))).max() > 0
    assert library.model(Wanted("small", 40, ((0, 3, 0.0),))) is held
    assert library.model(Wanted("small", 40, memory=0.5)).remembering.share == 0.5


@pytest.mark.parametrize("name", ["", "..", "../small", "small/", "/etc", "small/checkpoints/40", "\0"])
def test_a_request_names_no_path(library, name):
    with pytest.raises(Refusal, match="there is no model") as refusal:
        library.model(Wanted(name, None))
    assert refusal.value.status == 404


def test_a_step_that_is_not_there_is_refused_with_those_that_are(library):
    with pytest.raises(Refusal, match="no checkpoint of step 7; there are 20, 40"):
        library.model(Wanted("small", 7))


def test_a_checkpoint_that_is_a_link_to_elsewhere_is_none(runs, tmp_path):
    shutil.copytree(runs / "small", tmp_path / "mine")
    inside = tmp_path / "mine" / "checkpoints"
    shutil.rmtree(inside / "20")
    (inside / "20").symlink_to(runs / "small" / "checkpoints" / "20")
    (tmp_path / "linked").symlink_to(runs / "small")
    shown = Library([tmp_path])
    assert list(shown.runs) == ["mine"]
    assert list(shown.checkpoints(shown.run("mine"))) == [40]


def test_runs_of_one_name_get_numbers_and_a_run_is_shown_once(runs, tmp_path):
    shutil.copytree(runs / "small", tmp_path / "small")
    shown = Library([runs, tmp_path / "small", runs / "small"])
    assert list(shown.runs) == ["small", "small (2)"]


def test_a_damaged_checkpoint_is_left_out(runs, tmp_path):
    shutil.copytree(runs / "small", tmp_path / "small")
    (tmp_path / "small" / "checkpoints" / "40" / "metadata" / "metadata").write_text("{}")
    assert Library([tmp_path]).described()[0]["steps"] == [20]


@pytest.mark.parametrize("path", ["nothing", "file", "empty", "\0"])
def test_a_path_without_a_run_is_refused(path, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(JaxcharError, match="run"):
        Library([f"{tmp_path}/{path}"])


def test_only_the_last_models_are_kept_and_each_is_made_once_at_a_time(monkeypatch):
    kept, made = library_module._Kept(2), []
    for key in (1, 2, 1, 3, 1, 2):
        kept.get(key, lambda key=key: made.append(key) or key)
    assert made == [1, 2, 3, 2]
    started = threading.Barrier(8)

    def ask():
        started.wait()
        kept.get("slow", lambda: made.append("slow") or threading.Event().wait(0.05) or 1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert made.count("slow") == 1

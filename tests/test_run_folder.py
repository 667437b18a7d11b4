"""The files of a run: whole or not at all, cut back on resuming, never overwritten when set aside."""

import json

import numpy as np
import promises
import pytest

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.run_folder import CONFIG, LOGS, METRICS, SAMPLES, RunFolder, next_free


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    made = RunFolder(tmp_path / "some" / "run")
    made.create(Config(seed=5))
    return made


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_holds_a_run_once_its_settings_are_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert not folder.holds_run()
    folder.create(Config(seed=5))
    assert folder.holds_run()
    assert Config.from_json(json.loads((folder.path / CONFIG).read_text())) == Config(seed=5)


def test_making_a_folder_again_writes_the_new_settings_and_keeps_the_rest(folder):
    folder.log_metrics({"step": 1})
    before = contents(folder.path)
    folder.create(Config(seed=6))
    assert json.loads((folder.path / CONFIG).read_text())["seed"] == 6
    assert contents(folder.path).keys() == before.keys()
    assert contents(folder.path)[METRICS] == before[METRICS]


@promises.ANY_PATH
def test_a_file_where_the_folder_is_meant_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(JaxcharError, match="file' is a file"):
        RunFolder(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@promises.ANY_PATH
def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(JaxcharError, match="cannot write to --run-dir"):
        RunFolder(tmp_path / "file" / "run").create(Config())


@promises.ANY_PATH
@pytest.mark.parametrize("path", ["a" * 300, "~no-such-user/run", "a\0b"], ids=["long", "user", "null"])
def test_a_path_that_cannot_exist_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JaxcharError):
        RunFolder(path).create(Config())


def test_a_failed_write_leaves_the_file_as_it_was(folder):
    folder.write_json("summary.json", {"loss": 1.5})
    before = contents(folder.path)
    with pytest.raises(TypeError):
        folder.write_json("summary.json", {"loss": object()})
    assert contents(folder.path)["summary.json"] == before["summary.json"]


def test_metrics_are_one_line_of_json_each(folder):
    records = [{"step": 1, "note": "two\nlines\u2028"}, {"step": 2, "loss": 0.5}]
    for record in records:
        folder.log_metrics(record)
    lines = (folder.path / METRICS).read_bytes().decode().splitlines()
    assert [json.loads(line) for line in lines] == records


def test_metrics_come_back_as_one_series_a_figure(folder):
    assert folder.metrics() == {}
    folder.log_metrics({"step": 5, "train_loss": 2.5})
    folder.log_metrics({"step": 7, "val_loss": float("nan")})
    folder.log_metrics({"step": 9, "train_loss": 2.25})
    metrics = folder.metrics()
    assert metrics.keys() == {"train_loss", "val_loss"}
    np.testing.assert_array_equal(metrics["train_loss"].steps, [5, 9])
    np.testing.assert_array_equal(metrics["train_loss"].values, [2.5, 2.25])
    np.testing.assert_array_equal(metrics["val_loss"].values, [np.nan])


def test_samples_are_written_character_for_character(folder):
    folder.log_sample("step 1", "a\n", "x\r\ny\rz\u00e9\U0001f600")
    folder.log_sample("step 2", "b", "last")
    assert (folder.path / SAMPLES).read_bytes().decode() == (
        "--- step 1, after 'a\\n'\nx\r\ny\rz\u00e9\U0001f600\n\n--- step 2, after 'b'\nlast\n\n"
    )


# ---- cutting the logs back -----------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 3])
def test_cut_logs_are_what_they_were_when_measured(folder, before):
    def grow(times, word):
        for step in range(times):
            folder.log_metrics({"step": step, "word": word})
            folder.log_sample(f"step {step}", "\u00e9", word)

    grow(before, "kept")
    kept, sizes = {n: contents(folder.path).get(n, b"") for n in LOGS}, folder.log_sizes()
    grow(2, "told twice")
    folder.cut_logs(sizes)
    assert {name: contents(folder.path).get(name, b"") for name in LOGS} == kept
    assert folder.log_sizes() == sizes


def test_cutting_never_lengthens_nor_makes_a_log(folder):
    folder.log_metrics({"step": 1})
    before = contents(folder.path)
    folder.cut_logs({METRICS: 10_000, SAMPLES: 10_000})
    assert contents(folder.path) == before


# ---- setting checkpoints aside -------------------------------------------------------------------


def make_checkpoints(folder, steps):
    made = [folder.path / "checkpoints" / str(step) for step in steps]
    for checkpoint in made:
        (checkpoint / "arrays").mkdir(parents=True)
        (checkpoint / "arrays" / "data").write_text(checkpoint.name)
    return made


def test_nothing_to_set_aside_makes_no_folder(folder):
    before = contents(folder.path)
    assert folder.set_aside([], "x") is None
    assert contents(folder.path) == before


def test_set_aside_moves_the_checkpoints_and_copies_the_logs(folder):
    earlier, later, latest = make_checkpoints(folder, [10, 20, 30])
    folder.log_metrics({"step": 30})
    before = contents(folder.path)
    aside = folder.set_aside([later, latest], "after-step-10")
    assert aside == folder.path / "set-aside-after-step-10"
    assert contents(aside) == {
        METRICS: before[METRICS],
        "checkpoints/20/arrays/data": b"20",
        "checkpoints/30/arrays/data": b"30",
    }
    assert contents(folder.path)[METRICS] == before[METRICS]
    assert earlier.is_dir()
    assert not later.exists() and not latest.exists()


def test_setting_aside_again_overwrites_nothing(folder):
    asides = [folder.set_aside(make_checkpoints(folder, [20]), "x") for _ in range(3)]
    assert [aside.name for aside in asides] == ["set-aside-x", "set-aside-x-2", "set-aside-x-3"]
    assert all((aside / "checkpoints" / "20" / "arrays" / "data").exists() for aside in asides)


@pytest.mark.parametrize(
    "taken, free",
    [
        ([], "a.b"),
        (["a.b"], "a.b-2"),
        (["a.b", "a.b-2"], "a.b-3"),
        (["a.b", "a.b-3"], "a.b-2"),
        (["a.b-2"], "a.b"),
    ],
)
def test_the_next_free_path_is_the_first_that_is_not_taken(tmp_path, taken, free):
    for name in taken:
        (tmp_path / name).touch()
    assert next_free(tmp_path / "a.b") == tmp_path / free

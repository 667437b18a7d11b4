"""The files of a run: whole or not at all, cut back on resuming, never overwritten when set aside."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import promises
import pytest

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.training.run_folder import (
    CONFIG,
    LOGS,
    METRICS,
    SAMPLES,
    RunFolder,
    make_next_free,
    name_for,
    next_free,
)


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
    with pytest.raises(JaxcharError, match="cannot write to run_dir="):
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


# ---- new runs ------------------------------------------------------------------------------------


def test_runs_that_begin_at_once_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(make_next_free, [tmp_path / "runs" / "my_novel"] * 40))
    assert len(set(made)) == 40
    assert {path.name for path in made} == {"my_novel", *(f"my_novel-{n}" for n in range(2, 41))}
    assert all(path.is_dir() for path in made)


@promises.ANY_PATH
def test_a_name_that_a_file_or_a_dangling_link_has_is_taken(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "a-2").symlink_to(tmp_path / "nowhere")
    assert make_next_free(tmp_path / "a") == tmp_path / "a-3"


@promises.ANY_PATH
def test_where_no_run_can_be_made_the_error_says_so(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(JaxcharError, match=r"cannot make a folder for the run in '.*runs'.*run_dir="):
        make_next_free(tmp_path / "runs" / "a")


@promises.ANY_PATH
@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        (["my_novel.txt"], "my_novel"),
        (["texts/my_novel.txt"], "my_novel"),
        (["/somewhere/else/My Novel (final).txt"], "My_Novel_final"),
        (["my_novel"], "my_novel"),
        (["my_novel.txt.gz"], "my_novel"),
        (["my_novel.TXT.XZ"], "my_novel"),
        (["my_novel.tar.bz2"], "my_novel"),
        (["version1.5"], "version1.5"),
        (["v1.5.txt"], "v1.5"),
        (["my_novel_2.txt", "a.txt"], "my_novel_2"),
        (["shakespeare"], "shakespeare"),
        (["python"], "python"),
        (["-"], "stdin"),
        ([".hidden.txt"], "hidden"),
        ([".hidden"], "hidden"),
        ([".txt"], "txt"),
        (["---.txt", "second.txt"], "texts"),  # the folder that it lies in
        (["books/*.txt"], "books"),
        (["books/**/*.txt"], "books"),
        (["books/chapter_*.txt"], "chapter"),
        (["books/part-[0-9].txt"], "part"),
        (["books/act?scene*.txt"], "act_scene"),
        (["*.txt"], "texts"),
        (["."], "texts"),
        (["./"], "texts"),
        ([".."], "home"),
        (["folder.d"], "folder.d"),
        (["folder.d/"], "folder.d"),
        (["folder.d/../folder.d/x.txt"], "x"),
        (["żółw.txt"], "żółw"),
        (["zo\u0301.txt"], "z\u00f3"),  # as macOS writes it
        (["हिन्दी.txt"], "हिन्दी"),
        (["戰爭與和平.txt"], "戰爭與和平"),
        (["a:b|c?d\\e\n\x1b$(f)`g`&h.txt"], "a_b_c_d_e_f_g_h"),
        (["\udcff\udcfe.txt"], "texts"),  # bytes that are no UTF-8
        (["-rf.txt"], "rf"),
        (["/"], "run"),
        (["~no-such-user/a.txt"], "run"),
        (["a\0b"], "a_b"),
        ([f"{'a' * 240}.txt"], "a" * 100),
        ([f"{'ż' * 120}.txt"], "ż" * 50),
    ],
    ids=str,
)
def test_a_run_is_called_what_its_corpus_is_called(corpus, name, tmp_path, monkeypatch):
    folder = tmp_path / "home" / "texts"
    (folder / "folder.d").mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert name_for(corpus) == name


def test_what_a_shell_feeds_through_a_pipe_is_called_so(tmp_path):
    os.mkfifo(tmp_path / "63")
    assert name_for([str(tmp_path / "63")]) == "pipe"


@promises.ANY_PATH
def test_every_name_can_be_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in [*range(1, 0x300), 0x2028, 0x202E, 0xFEFF, 0x1F4DA, 0xE000, 0x10FFFF]:
        name = name_for([f"{chr(code)}a{chr(code)}.txt"])
        assert Path(name).name == name
        (tmp_path / name).mkdir(exist_ok=True)

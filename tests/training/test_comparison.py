"""Runs side by side: which settings differ, what is best, and runs that are not finished."""

import contextlib
import json
from unittest.mock import MagicMock

import pytest
from runs import TINY

from jaxchar import compare
from jaxchar.errors import JaxcharError
from jaxchar.training import comparison
from jaxchar.training.comparison import compare_runs, plot_comparison
from jaxchar.training.run_folder import SUMMARY, RunFolder


def make_run(path, losses, *, summary=True, **settings):
    """Write the files of a run that was never trained."""
    folder = RunFolder(path)
    folder.create(TINY.replace(**settings))
    for number, loss in enumerate(losses, start=1):
        folder.log_metrics({"step": 10 * number - 5, "train_loss": loss + 0.5, "seconds": number - 0.5})
        folder.log_metrics({"step": 10 * number, "val_loss": loss, "seconds": float(number)})
    steps = 10 * len(losses)
    if summary:
        folder.write_json(SUMMARY, {"steps": steps, "seconds": 7.25, "parameters": 123})
    return path


@pytest.fixture
def runs(tmp_path):
    make_run(tmp_path / "runs" / "a", [3.0, 2.0, 2.5], hidden_size=6)
    make_run(tmp_path / "runs" / "b", [3.0, 1.5], hidden_size=8, seed=2, summary=False)
    make_run(tmp_path / "runs" / "c", [])
    return tmp_path / "runs"


def test_the_best_run_comes_first_with_the_settings_that_differ(runs):
    found = compare_runs([runs / "a", runs / "b", runs / "c"])
    assert [run.path.name for run in found.runs] == ["b", "a", "c"]
    assert found.differing == ["hidden_size", "seed"]
    best, second, third = found.to_json()["runs"]
    assert best["settings"] == {"hidden_size": 8, "seed": 2}
    assert (second["best_step"], second["best_val_loss"], second["parameters"]) == (20, 2.0, 123)
    assert (second["steps"], second["seconds"]) == (30, 7.25)
    assert (third["best_step"], third["best_val_loss"], third["steps"]) == (None, None, 0)


def test_a_run_without_a_summary_or_with_an_older_one_is_compared_as_far_as_it_is(runs):
    RunFolder(runs / "a").log_metrics({"step": 35, "train_loss": 1.0, "seconds": 9.5})
    by_name = {run.path.name: run for run in compare_runs([runs]).runs}
    assert (by_name["b"].steps, by_name["b"].seconds, by_name["b"].parameters) == (20, 2.0, None)
    assert (by_name["a"].steps, by_name["a"].seconds) == (35, 9.5)


def test_a_folder_of_runs_is_its_runs_and_what_holds_none_is_left_out(runs):
    (runs / "notes").mkdir()
    (runs / "seeds.json").write_text("{}")
    found = compare_runs([runs, *sorted(runs.iterdir())])
    assert [run.path.name for run in found.runs] == ["b", "a", "c"]  # each of them once
    assert [path.name for path in found.left_out] == ["notes"]


def test_losses_on_different_texts_are_said_not_to_compare(runs, tmp_path):
    assert compare_runs([runs]).is_fair
    make_run(tmp_path / "other", [1.0], val_fraction=0.2)
    assert not compare_runs([runs, tmp_path / "other"]).is_fair


@pytest.mark.parametrize("damage", ["{", "[]", "3", '{"hidden_size": -1}', "\udcff"])
def test_settings_that_cannot_be_read_are_named_in_one_line(damage, runs):
    (runs / "a" / "config.json").write_text(damage, errors="surrogateescape")
    with pytest.raises(JaxcharError, match=r"config\.json") as raised:
        compare_runs([runs])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("summary", ['{"steps": "x", "seconds": [], "parameters": NaN}', "[]", "{"])
def test_a_summary_that_says_nothing_is_as_none(summary, runs):
    (runs / "a" / SUMMARY).write_text(summary)
    by_name = {run.path.name: run for run in compare_runs([runs]).runs}
    assert (by_name["a"].steps, by_name["a"].seconds, by_name["a"].parameters) == (30, 3.0, None)


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_draws_a_picture(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    picture = tmp_path / "new" / "losses.png"
    (runs / "_$x^{").mkdir()
    make_run(runs / "_$x^{", [2.75])  # no name for Matplotlib to interpret
    compare.main([str(runs), "--out", str(picture)])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("hidden_size", "seed", "1.5000", "2.0000", "Wrote"))
    assert "val_fraction" not in printed
    assert printed.index("1.5000") < printed.index("2.0000")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_json_of_all_runs_in_runs(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs.parent)
    compare.main(["--json"])
    printed = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in printed["runs"]] == ["runs/b", "runs/a", "runs/c"]
    assert printed["same_text"] is True


@pytest.mark.parametrize(("over", "places"), [("steps", [10, 20, 30]), ("seconds", [1.0, 2.0, 3.0])])
def test_losses_are_drawn_over_steps_or_over_seconds(over, places, runs, tmp_path, monkeypatch):
    axes = MagicMock()
    axes.get_legend_handles_labels.return_value = [], []
    picture = tmp_path / "losses.png"
    picture.touch()  # which nothing is drawn into here
    monkeypatch.setattr(comparison, "written_whole", lambda path: contextlib.nullcontext(path))
    monkeypatch.setattr(comparison, "drawn", lambda *_: contextlib.nullcontext((None, axes)))
    compare.main([str(runs / "a"), "--out", str(picture), "--over", over])
    validation, training = (call.args for call in axes.plot.call_args_list)
    assert validation[0].tolist() == places
    assert validation[1].tolist() == [3.0, 2.0, 2.5]
    assert training[0].tolist() == ([5, 15, 25] if over == "steps" else [0.5, 1.5, 2.5])


@pytest.mark.parametrize("line", [["no-such"], ["file"], [], ["runs/a", "--out", "file/x.png"]])
def test_what_cannot_be_compared_is_refused_in_one_line(line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    if line and line[0] == "runs/a":
        make_run(tmp_path / "runs" / "a", [1.0])
    with pytest.raises(SystemExit) as left:
        compare.main(line)
    said = capsys.readouterr().err
    assert (left.value.code, said.count("\n"), said[:7]) == (2, 1, "error: ")


def test_one_path_is_no_list_of_runs(runs):
    with pytest.raises(JaxcharError, match=r"must be a list, but they are .*; give \["):
        compare_runs(str(runs))


def test_another_axis_is_refused(runs, tmp_path):
    with pytest.raises(JaxcharError, match="must be 'steps' or 'seconds', but it is 'days'"):
        plot_comparison(compare_runs([runs]), tmp_path / "losses.png", over="days")

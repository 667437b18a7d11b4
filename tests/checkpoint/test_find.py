"""Which checkpoint a path means, and that damaged ones are passed over with a word."""

import json
from pathlib import Path

import promises
import pytest
from small_checkpoint import assert_equal, load, metadata, save, state

from jaxchar.checkpoint.find import all_checkpoints, checkpoint_of_epoch, peek
from jaxchar.checkpoint.layout import FOLDER
from jaxchar.errors import JaxcharError


@pytest.fixture
def run_dir(tmp_path) -> Path:
    return tmp_path / "a run, with spaces é"


def test_a_checkpoint_comes_back_whole_by_any_of_its_paths(run_dir):
    save(run_dir, 5, 12)
    for path in (run_dir, run_dir / "checkpoints", run_dir / "checkpoints" / "12", f"{run_dir}/"):
        loaded = load(path)
        assert_equal(loaded.state, state())
        assert loaded.metadata == metadata(12)
        assert loaded.warnings == []


def damage_by_emptying(checkpoint: Path) -> None:
    for file in sorted(checkpoint.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()


def damage_by_deleting_the_arrays(checkpoint: Path) -> None:
    for file in (checkpoint / "state").rglob("*"):
        if file.is_file():
            file.unlink()


def damage_by_truncating_the_metadata(checkpoint: Path) -> None:
    file = checkpoint / "metadata" / "metadata"
    file.write_bytes(file.read_bytes()[:-40])


def damage_by_changing_a_digest(checkpoint: Path) -> None:
    file = checkpoint / "metadata" / "metadata"
    record = json.loads(file.read_text())
    record["step"] = 99
    file.write_text(json.dumps(record))


DAMAGES = [
    damage_by_emptying,
    damage_by_deleting_the_arrays,
    damage_by_truncating_the_metadata,
    damage_by_changing_a_digest,
]


@promises.DAMAGE_PASSED_OVER
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_passed_over_with_a_word(run_dir, damage):
    save(run_dir, 1, 2)
    damage(run_dir / "checkpoints" / "2")
    loaded = load(run_dir)
    assert loaded.metadata.step == 1
    assert len(loaded.warnings) == 1
    assert "2' is damaged" in loaded.warnings[0]
    with pytest.raises(JaxcharError, match="damaged"):
        load(run_dir / "checkpoints" / "2")


@promises.DAMAGE_PASSED_OVER
def test_with_none_whole_the_error_says_so(run_dir):
    save(run_dir, 1)
    damage_by_deleting_the_arrays(run_dir / "checkpoints" / "1")
    with pytest.raises(JaxcharError, match="that is whole") as caught:
        load(run_dir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nothing/here", "."])
def test_a_path_without_checkpoints_is_an_error_that_names_it(tmp_path, path):
    with pytest.raises(JaxcharError, match="no checkpoint"):
        load(tmp_path / path)
    with pytest.raises(JaxcharError, match="no checkpoint"):
        peek(tmp_path / path)


def test_all_checkpoints_of_a_path_are_found_whole_or_damaged(run_dir, tmp_path):
    save(run_dir, 1, 2)
    one, two = (run_dir.resolve() / FOLDER / step for step in "12")
    damage_by_emptying(two)
    assert all_checkpoints(run_dir) == all_checkpoints(run_dir / FOLDER) == [two, one]
    assert all_checkpoints(one) == [one]
    renamed = one.rename(tmp_path / "renamed")
    assert all_checkpoints(renamed) == [renamed.resolve()]
    with pytest.raises(JaxcharError, match="no checkpoint in"):
        all_checkpoints(tmp_path)


def test_the_checkpoint_of_an_epoch_is_the_one_that_ended_it(run_dir):
    save(run_dir, 10, 15, 20, 30)
    damage_by_emptying(run_dir / FOLDER / "30")
    assert checkpoint_of_epoch(run_dir, 2) == run_dir.resolve() / FOLDER / "20"
    with pytest.raises(JaxcharError, match="those kept ended the epochs: 1, 2; 1 more are damaged"):
        checkpoint_of_epoch(run_dir, 3)


@pytest.mark.parametrize("which", ["newest", "", 3])
def test_an_unknown_choice_among_checkpoints_is_refused(which, run_dir):
    with pytest.raises(JaxcharError, match="must be 'last' or 'best'"):
        load(run_dir, which)


def test_the_file_of_a_model_is_told_to_be_imported(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"PK")
    with pytest.raises(
        JaxcharError, match=r"no checkpoint in .*; of the file of a model, jaxchar import makes"
    ):
        peek(tmp_path / "m.keras")

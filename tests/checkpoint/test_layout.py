"""Where checkpoints lie: folders named after steps, and nothing else."""

import pytest

from jaxchar.checkpoint.layout import FOLDER, checkpoints_of, is_step, resolved, steps_in
from jaxchar.errors import JaxcharError


@pytest.mark.parametrize("name", ["0", "7", "2000", "12345678901234567890"])
def test_a_step_is_a_decimal_number(name):
    assert is_step(name)


@pytest.mark.parametrize("name", ["", "-1", "007", "1.deleted", "1e3", "\u0661", "\u00b2", "x", "1" * 5_000])
def test_any_other_name_is_no_step(name):
    assert not is_step(name)


def test_steps_come_newest_first_and_files_do_not_count(tmp_path):
    for name in ("9", "10", "2", "2.deleted", "10.orbax-checkpoint-tmp"):
        (tmp_path / FOLDER / name).mkdir(parents=True)
    (tmp_path / FOLDER / "11").touch()
    assert steps_in(tmp_path / FOLDER) == [10, 9, 2]
    assert steps_in(tmp_path / "nothing") == []
    assert checkpoints_of(tmp_path) == [tmp_path.resolve() / FOLDER / step for step in ("10", "9", "2")]


@pytest.mark.parametrize(
    ("path", "reason"), [("gs://bucket/run", "is an address"), ("a\\b", "backslash"), ("\0", "null")]
)
def test_a_path_that_cannot_be_used_is_refused(path, reason):
    with pytest.raises(JaxcharError, match=reason):
        resolved(path)

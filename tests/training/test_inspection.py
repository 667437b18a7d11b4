"""What is in a checkpoint, and what of it is damaged, from Python."""

import math
import shutil

import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.training.inspection import inspect_checkpoints


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    return jaxchar.fit(TINY, run_dir, display=quiet())


def test_a_whole_checkpoint_is_told_with_its_contents(run):
    found = inspect_checkpoints(str(run.run_dir))
    (verified,) = found.checkpoints
    assert found.is_whole and verified.metadata and verified.damage == []
    shown = found.shown
    assert shown is not None and shown.path == verified.path
    assert shown.metadata.config == jaxchar.load(run.run_dir).config
    assert shown.changed["hidden_size"] == jaxchar.Config().hidden_size
    assert sum(math.prod(array.shape) for array in shown.parameters) == run.summary["parameters"]
    assert shown.weight_average is None
    assert shown.optimizer_state.num_bytes > shown.optimizer_state.arrays > 0
    assert (shown.memory.arrays, shown.memory.numbers) == (1, 900)  # the training text
    one_checkpoint = inspect_checkpoints(str(verified.path))
    assert one_checkpoint.to_json() == found.to_json()


@pytest.mark.slow
def test_a_damaged_array_is_named(run, tmp_path):
    shutil.copytree(run.run_dir, tmp_path / "copy")
    files = (tmp_path / "copy" / "checkpoints").rglob("state/**/*")
    largest = max((file for file in files if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    found = inspect_checkpoints(str(tmp_path / "copy"))
    assert not found.is_whole
    assert found.shown is not None  # its metadata are whole
    assert found.to_json()["checkpoints"][0]["damage"] == found.checkpoints[0].damage


def test_a_damaged_memory_is_named(run, tmp_path):
    shutil.copytree(run.run_dir, tmp_path / "copy")
    (file,) = (path for path in (tmp_path / "copy").rglob("state/memory/0") if path.is_file())
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    (verified,) = inspect_checkpoints(str(tmp_path / "copy")).checkpoints
    assert verified.damage == ["memory does not match its SHA-256"]


def test_a_run_without_a_memory_has_none(tmp_path):
    jaxchar.fit(TINY.replace(memory="none"), tmp_path / "run", display=quiet())
    assert inspect_checkpoints(str(tmp_path / "run")).shown.memory is None


def test_a_path_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(JaxcharError, match="no checkpoint in"):
        inspect_checkpoints(str(tmp_path))

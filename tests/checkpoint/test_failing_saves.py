"""Where a checkpoint cannot be written, the user is told, the older ones stay, and training goes on."""

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path

import promises
import pytest
from rich.console import Console
from runs import TINY

import jaxchar
from jaxchar.checkpoint.arrays import verify
from jaxchar.checkpoint.damage import Damaged
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.errors import JaxcharError
from jaxchar.progress.display import TrainingDisplay
from jaxchar.training.pace import Pace
from jaxchar.training.trainer import Trainer

pytestmark = promises.FAILING_SAVES

CONFIG = TINY.replace(epochs=4, log_every=1, keep_checkpoints=1, val_fraction=0.0)
EPOCH = 15  # steps


class Remembered(TrainingDisplay):
    """Shows nothing, and remembers every notice."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.notices: list[str] = []

    def notice(self, line: str) -> None:
        self.notices.append(line)

    def told(self, words: str) -> int:
        return sum(words in notice for notice in self.notices)


# ---- the ways in which writing fails -------------------------------------------------------------


class NoRoom:
    """Files may not grow beyond what they have: the kernel says so to every write, as a full disk does."""

    def begin(self, run_dir: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))

    def end(self, run_dir: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    clean = end


class FullDisk:
    """The run lies on a small file system of its own, and something else fills it."""

    def prepare(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(run_dir)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("file systems can only be mounted by root")

    def begin(self, run_dir: Path) -> None:
        with contextlib.suppress(OSError), (run_dir / ".filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def end(self, run_dir: Path) -> None:
        (run_dir / ".filler").unlink()

    def clean(self, run_dir: Path) -> None:
        subprocess.run(["umount", str(run_dir)], check=True)


class ReadOnly:
    """The checkpoints' folder cannot be written to."""

    def begin(self, run_dir: Path) -> None:
        folder = run_dir / FOLDER
        folder.chmod(0o500)
        if os.access(folder, os.W_OK):  # root may write all the same, but not here
            mounts = (["--bind", folder, folder], ["-o", "remount,ro,bind", folder])
            if any(subprocess.run(["mount", *map(str, m)], capture_output=True).returncode for m in mounts):
                pytest.skip("root may write everywhere, and cannot mount")

    def end(self, run_dir: Path) -> None:
        subprocess.run(["umount", str(run_dir / FOLDER)], capture_output=True)
        with contextlib.suppress(FileNotFoundError):
            (run_dir / FOLDER).chmod(0o700)

    clean = end


class InTheWay:
    """A file has taken the place of the checkpoints' folder."""

    def begin(self, run_dir: Path) -> None:
        (run_dir / FOLDER).rename(run_dir / "moved")
        (run_dir / FOLDER).write_text("in the way")

    def end(self, run_dir: Path) -> None:
        (run_dir / FOLDER).unlink()
        (run_dir / "moved").rename(run_dir / FOLDER)


WAYS = [NoRoom, FullDisk, pytest.param(ReadOnly, marks=pytest.mark.slow), InTheWay]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def trouble(request, tmp_path):
    """One way to fail, and a run folder that it can happen to."""
    way, run_dir = request.param(), tmp_path / "run"
    getattr(way, "prepare", lambda _: None)(run_dir)
    yield way, run_dir
    getattr(way, "clean", lambda _: None)(run_dir)


def at_steps(monkeypatch, **happenings) -> None:
    """Let things happen after steps: at_steps(monkeypatch, after_16=call)."""
    train_chunk = Trainer._train_chunk

    def then(trainer, *arguments):
        chunk = train_chunk(trainer, *arguments)
        happenings.get(f"after_{trainer.step}", lambda: None)()
        return chunk

    monkeypatch.setattr(Trainer, "_train_chunk", then)
    monkeypatch.setattr(Pace, "add", lambda pace, steps, seconds: 1)


@pytest.mark.parametrize(
    "in_background",
    [
        pytest.param(True, id="background"),
        pytest.param(False, id="waiting", marks=pytest.mark.slow),  # the tests below wait, too
    ],
)
def test_a_failed_save_is_told_and_a_later_one_mends_it(trouble, in_background, monkeypatch):
    way, run_dir = trouble
    before: list[int] = []

    def fail():
        while not steps_in(run_dir / FOLDER):  # the save of the first epoch is under way
            pass
        before.extend(steps_in(run_dir / FOLDER))
        way.begin(run_dir)

    def recover():
        way.end(run_dir)
        kept.extend(steps_in(run_dir / FOLDER))

    kept: list[int] = []
    display = Remembered()
    at_steps(monkeypatch, after_20=fail, after_40=recover)
    jaxchar.fit(CONFIG.replace(save_in_background=in_background), run_dir, display=display)
    assert display.told(f"warning: the checkpoint of step {2 * EPOCH} could not be saved") == 1
    assert display.told("Saving works again") == 1
    assert before == kept == [EPOCH]
    assert steps_in(run_dir / FOLDER) == [4 * EPOCH]
    verify(run_dir / FOLDER / str(4 * EPOCH))
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 4 * EPOCH
    assert jaxchar.load(run_dir).generate(length=3)


def test_a_run_whose_last_save_failed_ends_in_an_error_and_keeps_the_older_one(trouble, monkeypatch):
    way, run_dir = trouble
    at_steps(monkeypatch, after_50=lambda: way.begin(run_dir))
    with pytest.raises(
        JaxcharError, match=f"step {4 * EPOCH} could not be saved.*step {3 * EPOCH}; make room"
    ):
        jaxchar.fit(CONFIG.replace(save_in_background=False), run_dir, display=Remembered())
    way.end(run_dir)
    monkeypatch.undo()
    assert steps_in(run_dir / FOLDER) == [3 * EPOCH]
    assert jaxchar.resume(run_dir, display=Remembered()).summary["steps"] == 4 * EPOCH


def test_a_folder_that_vanished_is_made_anew(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    at_steps(monkeypatch, after_20=lambda: shutil.rmtree(run_dir))
    display = Remembered()
    jaxchar.fit(CONFIG.replace(save_in_background=False), run_dir, display=display)
    assert display.told("has vanished, with what was in it") == 1
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 4 * EPOCH - 19  # from step 20 on
    assert steps_in(run_dir / FOLDER) == [4 * EPOCH]
    assert jaxchar.resume(run_dir, display=display).summary["steps"] == 4 * EPOCH


def test_no_older_checkpoint_is_deleted_before_the_new_one_is_read_back(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    jaxchar.fit(CONFIG.replace(epochs=1), run_dir, display=Remembered())

    def unreadable(checkpoint):
        raise Damaged("it came back as something else")

    monkeypatch.setattr("jaxchar.checkpoint.store.verify", unreadable)
    with pytest.raises(JaxcharError, match="it came back as something else"):
        jaxchar.resume(run_dir, config=CONFIG, display=Remembered())
    assert steps_in(run_dir / FOLDER) == [EPOCH]


def test_what_a_killed_save_or_deletion_left_behind_is_cleared_away(tmp_path):
    run_dir = tmp_path / "run"
    jaxchar.fit(CONFIG.replace(epochs=1), run_dir, display=Remembered())
    for name in ("30.orbax-checkpoint-tmp", "12.deleted"):
        (run_dir / FOLDER / name / "state").mkdir(parents=True)
    with CheckpointStore(run_dir):
        assert [path.name for path in (run_dir / FOLDER).iterdir()] == [str(EPOCH)]

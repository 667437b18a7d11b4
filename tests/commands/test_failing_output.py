"""A run goes on without a display that fails, and without a picture or a report that fails."""

import errno
import fcntl
import io
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import promises
import pytest
from command_runs import CONFIG, EPOCH, EXPERIMENT, STEPS, TRAIN, assert_whole, main
from rich.console import Console
from runs import quiet

import jaxchar
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.progress import guard as display_guard
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay, TolerantStream
from jaxchar.training.saving import Saver
from jaxchar.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("unmeasured")

# ---- output that fails, in processes of their own --------------------------------------------------

OUTPUTS = [
    pytest.param("> /dev/full", id="full", marks=pytest.mark.slow),
    pytest.param("<&- >&- 2>&-", id="everything closed", marks=pytest.mark.slow),
    pytest.param("| head -3 > /dev/null", id="a reader that leaves", marks=pytest.mark.slow),
    pytest.param("> /dev/full 2> /dev/full", id="everything full", marks=pytest.mark.slow),
    pytest.param(">&-", id="closed", marks=pytest.mark.slow),
    pytest.param("| true", id="a reader that never reads", marks=pytest.mark.slow),
]


@promises.DISPLAY_GONE
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_whose_output_fails_goes_on_to_its_end_and_its_exit_code(output, tmp_path):
    # What a buffer still holds at the very end fails once more.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f"{{ {shlex.join([*TRAIN, '--epochs=2', '--run-dir=run'])}; echo $? > code; }} {output}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=300, env=buffered
    )
    assert (tmp_path / "code").read_text() == "0\n"
    assert_whole(tmp_path / "run")
    silent = "2>" in output
    assert done.stderr.count("warning: the run can no longer be shown here") == (0 if silent else 1)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_no_file_takes_the_place_of_an_output_that_is_closed(tmp_path):
    """What a library in C says on standard error would be written into it."""
    program = (
        "from jaxchar.progress.guard import tolerant_output\n"
        "with tolerant_output(), open('f', 'w') as file: print(file.fileno(), file=file)"
    )
    command = f"{shlex.join([sys.executable, '-c', program])} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, timeout=60).returncode == 0
    assert int((tmp_path / "f").read_text()) > 2


class Terminal:
    """A run on a terminal of its own, which can be taken away."""

    def __init__(self, run_dir: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
        self.end, other = pty.openpty()

        def take_as_controlling_terminal() -> None:
            os.setsid()
            fcntl.ioctl(other, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*prefix, *EXPERIMENT, *options, f"--run-dir={run_dir}"],
            stdin=other,
            stdout=other,
            stderr=other,
            preexec_fn=take_as_controlling_terminal,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(other)

    def wait_for(self, words: bytes) -> bytes:
        """Read until the run shows some words, for two minutes at the most."""
        shown, latest = b"", time.monotonic() + 120
        while words not in shown:
            assert select.select([self.end], [], [], max(0, latest - time.monotonic()))[0], shown
            shown += os.read(self.end, 4096)
        return shown

    def wait(self) -> int:
        """Return the exit code, reading what is shown meanwhile."""
        try:
            while os.read(self.end, 4096):
                pass
        except OSError as error:
            assert error.errno in (errno.EIO, errno.EBADF)
        return self.process.wait(timeout=300)


@pytest.mark.slow
@promises.DISPLAY_GONE
def test_a_terminal_that_is_gone_does_not_end_a_run_that_ignores_that(tmp_path):
    ignoring = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
    terminal = Terminal(tmp_path / "run", "--epochs=2", "--verbose", prefix=ignoring)
    terminal.wait_for(b"Output shape")
    os.close(terminal.end)
    assert terminal.wait() == 0
    assert_whole(tmp_path / "run")


@pytest.mark.slow  # what a closed terminal sends, and output that fails, are tried in this process
@promises.SIGNALS
def test_a_terminal_that_is_closed_saves_and_ends_the_run(tmp_path):
    terminal = Terminal(tmp_path / "run", "--epochs=1000000")
    terminal.wait_for(b"epoch 2")
    os.close(terminal.end)
    assert terminal.wait() == 128 + signal.SIGHUP
    assert steps_in(tmp_path / "run" / FOLDER)[0] > EPOCH
    assert (tmp_path / "run" / "summary.json").exists()


# ---- output that fails, in this process ------------------------------------------------------------


def left_by_rich() -> None:
    """Leave the program as rich does where a pipe is broken."""
    try:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    except BrokenPipeError:
        raise SystemExit(1)  # noqa: B904


def closed_file() -> None:
    stream = io.StringIO()
    stream.close()
    stream.write("")


def no_such_character() -> None:
    "é".encode("ascii")


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class Failing(TrainingDisplay):
    """A display that fails in every way, in every method."""

    def __init__(self, fail) -> None:
        super().__init__(Console(quiet=True))
        for name in ("notice", "summary", "live", "progress", "evaluation", "sample", "finished"):
            setattr(self, name, lambda *_, **__: fail())


@promises.DISPLAY_GONE
@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(left_by_rich, marks=pytest.mark.slow),
        pytest.param(closed_file, marks=pytest.mark.slow),
        pytest.param(no_such_character, marks=pytest.mark.slow),
        disk_full,
    ],
)
def test_a_display_that_fails_is_told_once_and_does_without(fail, tmp_path, capsys):
    run = jaxchar.fit(CONFIG.replace(sample_length=3), tmp_path / "run", display=Failing(fail))
    assert run.summary["steps"] == STEPS
    assert_whole(tmp_path / "run")
    assert capsys.readouterr().err.count("warning: the run can no longer be shown here") == 1
    assert "--- sample at step" in (tmp_path / "run" / "samples.txt").read_text()


def test_warnings_go_to_standard_error_where_the_display_is_gone(capsys):
    display = GuardedDisplay(Failing(disk_full))
    display.notice("warning: it matters")
    assert capsys.readouterr().err == (
        "warning: the run can no longer be shown here (No space left on device); it goes on all the same\n"
        "warning: it matters\n"
    )


class Breaking(io.StringIO):
    """A terminal that breaks after some writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@promises.DISPLAY_GONE
@pytest.mark.parametrize(
    "writes", [pytest.param(0, marks=pytest.mark.slow), 20, pytest.param(40, marks=pytest.mark.slow)]
)
def test_a_live_line_whose_terminal_breaks_fails_in_no_thread(writes, tmp_path, capsys, monkeypatch):
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    console = Console(file=Breaking(writes), force_terminal=True)
    before = sys.stdout, sys.stderr, console.file
    train_chunk = Trainer._train_chunk

    def slowly(trainer, *given):
        time.sleep(0.15)  # rich's thread shows the line 10 times a second
        return train_chunk(trainer, *given)

    monkeypatch.setattr(Trainer, "_train_chunk", slowly)
    jaxchar.fit(CONFIG, tmp_path / "run", display=TrainingDisplay(console))
    assert_whole(tmp_path / "run")
    assert not failed
    assert capsys.readouterr().err.count("warning: the run can no longer be shown here") == 1
    assert (sys.stdout, sys.stderr, console.file) == before


def test_what_is_raised_within_a_live_line_is_no_failure_of_the_display(capsys):
    display = GuardedDisplay(TrainingDisplay(Console(file=io.StringIO(), force_terminal=True)))
    with pytest.raises(OSError, match="mine"), display.live(3):
        raise OSError("mine")
    assert capsys.readouterr().err == ""


def test_an_exit_that_somebody_asks_for_is_no_failure_of_the_display():
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        GuardedDisplay(Failing(leave)).notice("anything")


@promises.DISPLAY_GONE
def test_a_reader_that_pauses_is_waited_for_shortly_and_told_what_it_missed(monkeypatch):
    monkeypatch.setattr(display_guard, "PATIENCE_SECONDS", 0.05)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as pipe:
        stream = TolerantStream(pipe)
        for _ in range(200):
            stream.write("x" * 999 + "\n")
        assert stream.problem is None
        first = reader.read(1 << 20)
        stream.write("again\n")
        missed = 200 * 1_000 - len(first)
        assert missed > 0
        expected = f"\n[{missed:,} characters were left out here: nobody read them]\nagain\n"
        assert reader.read(1 << 20).decode() == expected


def test_a_stream_that_lacks_a_character_shows_a_question_mark():
    into = io.BytesIO()
    stream = TolerantStream(io.TextIOWrapper(into, encoding="ascii"))
    stream.write("caf\u00e9\n")
    assert (into.getvalue(), stream.problem) == (b"caf?\n", None)


# ---- pictures and reports that fail ----------------------------------------------------------------


@promises.REPORTS
def test_a_picture_that_cannot_be_drawn_is_one_warning_and_exit_code_0(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("Key backend: 'x' is no valid value\nsecond line")

    monkeypatch.setattr("jaxchar.training.summary.plot_loss", fail)
    assert main("--epochs=2", f"--run-dir={tmp_path}/run") == 0
    out = capsys.readouterr().out
    assert out.count("warning: loss.png could not be written: Key backend: 'x' is no valid value;") == 1
    assert "second line" not in out and "The run is in" in out
    assert (tmp_path / "run" / "summary.json").exists()


@promises.REPORTS
@pytest.mark.parametrize(
    "error",
    [
        ImportError("x"),
        pytest.param(MemoryError(), marks=pytest.mark.slow),
        pytest.param(OSError(errno.ENOSPC, "full"), marks=pytest.mark.slow),
        pytest.param(KeyError(1), marks=pytest.mark.slow),
    ],
)
def test_fit_returns_whatever_the_picture_fails_of(error, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("jaxchar.training.summary.plot_loss", fail)
    assert jaxchar.fit(CONFIG, tmp_path / "run").summary["steps"] == STEPS
    assert capsys.readouterr().out.count("warning: loss.png could not be written") == 1
    monkeypatch.undo()
    jaxchar.resume(tmp_path / "run", display=quiet())
    assert_whole(tmp_path / "run")


@promises.REPORTS
def test_a_summary_that_cannot_be_written_and_metrics_that_cannot_be_read_are_warnings(
    tmp_path, monkeypatch, capsys
):
    save_the_end = Saver.save_the_end

    def then_spoil(*given):
        save_the_end(*given)
        (tmp_path / "run" / "summary.json").mkdir()
        with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
            file.write('{"half a\n{"step": 1}\n')

    monkeypatch.setattr(Saver, "save_the_end", then_spoil)
    run = jaxchar.fit(CONFIG, tmp_path / "run")
    assert run.summary["steps"] == STEPS
    out = capsys.readouterr().out
    assert out.count("warning: summary.json could not be written") == 1
    assert out.count("warning: loss.png could not be written") == 1
    (tmp_path / "run" / "summary.json").rmdir()
    assert jaxchar.resume(tmp_path / "run", display=quiet()).summary == run.summary
    assert_whole(tmp_path / "run")


def test_a_package_that_is_gone_while_a_run_lasts_does_not_end_it(tmp_path, monkeypatch):
    train_chunk = Trainer._train_chunk

    def gone(name):
        raise ModuleNotFoundError(name)

    def then_lose(trainer, *given):
        monkeypatch.setattr("jaxchar.checkpoint.provenance.version", gone)
        return train_chunk(trainer, *given)

    monkeypatch.setattr(Trainer, "_train_chunk", then_lose)
    jaxchar.fit(CONFIG, tmp_path / "run", display=quiet())
    assert_whole(tmp_path / "run")

"""A run goes on whatever happens around it: failing output, failing pictures, signals, a kill at the end."""

import errno
import faulthandler
import fcntl
import io
import json
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import promises
import pytest
from rich.console import Console
from runs import TINY, quiet, timeless_metrics

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.store import FOLDER, steps_in
from jaxchar.errors import JaxcharError
from jaxchar.progress import guard as display_guard
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay, TolerantStream
from jaxchar.training import signals
from jaxchar.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("programs_made_once", "unmeasured")

CONFIG = TINY.replace(epochs=2, log_every=5)
EPOCH = 14  # steps
STEPS = 2 * EPOCH
DOOR = "--corpus python --max-chars 1000 --batch-size 4 --seq-len 16 --hidden-size 6 --sample-length 0"
PERIODS = {"--log-every": 5, "--eval-every": EPOCH, "--checkpoint-every": EPOCH}  # else the recipe's
DOOR = [*DOOR.split(), *(str(word) for period in PERIODS.items() for word in period)]
TRAIN = [sys.executable, "-m", "jaxchar.train", *DOOR]
# Nothing is chosen for the text, for which the machine would be measured.
AS_EXPERIMENT = "from jaxchar.config import Config; from jaxchar.train import main; main(Config(), 'run')"
EXPERIMENT = [sys.executable, "-c", AS_EXPERIMENT, *DOOR]


def assert_whole(run_dir: Path, steps: int = STEPS) -> None:
    """Fail unless everything of a finished run is there."""
    assert steps_in(run_dir / FOLDER)[0] == steps
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == steps
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(timeless_metrics(run_dir)) == steps // 5 + steps // EPOCH


# ---- output that fails, in processes of their own --------------------------------------------------

OUTPUTS = [
    pytest.param("> /dev/full", id="full", marks=pytest.mark.slow),
    pytest.param("<&- >&- 2>&-", id="everything closed", marks=pytest.mark.slow),
    pytest.param("| head -3 > /dev/null", id="a reader that leaves"),
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
        left_by_rich,
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
@pytest.mark.parametrize("writes", [0, 20, pytest.param(40, marks=pytest.mark.slow)])
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

    monkeypatch.setattr("jaxchar.training.trainer.plot_loss", fail)
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
        MemoryError(),
        pytest.param(OSError(errno.ENOSPC, "full"), marks=pytest.mark.slow),
        pytest.param(KeyError(1), marks=pytest.mark.slow),
    ],
)
def test_fit_returns_whatever_the_picture_fails_of(error, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("jaxchar.training.trainer.plot_loss", fail)
    assert jaxchar.fit(CONFIG, tmp_path / "run").summary["steps"] == STEPS
    assert capsys.readouterr().out.count("warning: loss.png could not be written") == 1
    monkeypatch.undo()
    jaxchar.resume(tmp_path / "run", display=quiet())
    assert_whole(tmp_path / "run")


@promises.REPORTS
def test_a_summary_that_cannot_be_written_and_metrics_that_cannot_be_read_are_warnings(
    tmp_path, monkeypatch, capsys
):
    save_the_end = Trainer._save_the_end

    def then_spoil(trainer):
        save_the_end(trainer)
        (tmp_path / "run" / "summary.json").mkdir()
        with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
            file.write('{"half a')

    monkeypatch.setattr(Trainer, "_save_the_end", then_spoil)
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
        monkeypatch.setattr("jaxchar.checkpoint.metadata.version", gone)
        return train_chunk(trainer, *given)

    monkeypatch.setattr(Trainer, "_train_chunk", then_lose)
    jaxchar.fit(CONFIG, tmp_path / "run", display=quiet())
    assert_whole(tmp_path / "run")


# ---- signals ---------------------------------------------------------------------------------------


# Ctrl-C, a closed terminal and a batch system's warning always; all of them in `make prove`.
QUICK = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
ALL_SIGNALS = [
    pytest.param(number, id=number.name, marks=() if number in QUICK else pytest.mark.slow)
    for number in signals.STOP_SIGNALS
]


def at_first_chunk(monkeypatch, do) -> None:
    """Let something happen just before the first steps, of which there is one a call."""
    train_chunk, done = Trainer._train_chunk, []

    def before(trainer, *given):
        if not done:
            done.append(True)
            do()
        return train_chunk(trainer, *given)

    monkeypatch.setattr(Trainer, "_train_chunk", before)
    monkeypatch.setattr(Trainer, "_timed", lambda trainer, steps, seconds: 1)


def send(number: int, times: int = 1, pause: float = 0.0):
    """Return what sends signals to this process."""

    def kill() -> None:
        for time_number in range(times):
            time.sleep(pause if time_number else 0.0)
            os.kill(os.getpid(), number)

    return kill


def main(*options: str) -> int:
    """Train as a command; return the exit code."""
    try:
        train.main(arguments=[*DOOR, *options])
    except SystemExit as leaving:
        return leaving.code or 0
    return 0


@promises.SIGNALS
@pytest.mark.parametrize("number", ALL_SIGNALS)
def test_every_signal_that_asks_to_stop_saves_and_says_how_to_go_on(number, tmp_path, monkeypatch, capsys):
    at_first_chunk(monkeypatch, send(number))
    run_dir = tmp_path / "my run's"
    assert main("--epochs=2", f"--run-dir={run_dir}") == 128 + number
    out = capsys.readouterr().out
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert f"\n{name}: saving ... (Ctrl-C again leaves at once, without saving)\n" in out
    (told,) = (line for line in out.splitlines() if line.startswith("stopped at step "))
    told, command = told.split("; go on with: ")
    assert told == f"stopped at step 1 of {STEPS}"
    assert out.index("saving ...") < out.index("stopped at step")
    assert steps_in(run_dir / FOLDER) == [1]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "jaxchar.train"]
    train.main(arguments=words[3:])
    assert_whole(run_dir)


@promises.SIGNALS
def test_a_signal_is_announced_at_once_though_no_python_code_runs(tmp_path, monkeypatch):
    """Python's own handlers wait until a computation ends; the announcement does not."""
    announced = threading.Event()
    waited = []
    monkeypatch.setattr(Trainer, "_announce_stop", lambda trainer, number: announced.set())

    def kill_and_compute():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        waited.append(announced.wait(10))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    at_first_chunk(monkeypatch, kill_and_compute)
    jaxchar.fit(CONFIG, tmp_path / "run", display=quiet())
    assert waited == [True]


@promises.SIGNALS
def test_python_says_in_python_how_to_go_on(tmp_path, monkeypatch, capsys):
    at_first_chunk(monkeypatch, send(signal.SIGTERM))
    run = jaxchar.fit(CONFIG, tmp_path / "it's")
    assert run.stopped_by == signal.SIGTERM
    (told,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("stopped at step 1 "))
    assert eval(told.split("go on with: ")[1], {"jaxchar": jaxchar}).summary["steps"] == STEPS


@promises.SIGNALS
@pytest.mark.parametrize("number", ALL_SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number, tmp_path, monkeypatch):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        at_first_chunk(monkeypatch, send(number))
        assert main("--epochs=2", f"--run-dir={tmp_path}/run") == 0
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert_whole(tmp_path / "run")


@promises.SIGNALS
def test_signals_that_come_together_are_one_request(tmp_path, monkeypatch):
    """`timeout` sends its signal to the process and to its group, a shell's hangup comes twice."""
    at_first_chunk(monkeypatch, send(signal.SIGTERM, times=3, pause=0.05))
    assert main("--epochs=2", f"--run-dir={tmp_path}/run") == 128 + signal.SIGTERM
    assert steps_in(tmp_path / "run" / FOLDER) == [1]


@promises.SIGNALS
def test_only_ctrl_c_and_sigterm_can_be_insisted_on(tmp_path, monkeypatch):
    """A hangup after a hangup, SIGXCPU every second: nobody says that the save is not waited for."""
    pause = signals.ONE_REQUEST_SECONDS + 0.1
    at_first_chunk(monkeypatch, send(signal.SIGXCPU, times=3, pause=pause))
    assert main("--epochs=2", f"--run-dir={tmp_path}/run") == 128 + signal.SIGXCPU
    assert steps_in(tmp_path / "run" / FOLDER) == [1]


@promises.SIGNALS
@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_second_signal_interrupts_fit_and_leaves_its_host_alive(number, raised, tmp_path, monkeypatch):
    at_first_chunk(monkeypatch, send(number, times=2, pause=signals.ONE_REQUEST_SECONDS + 0.2))
    with pytest.raises(raised):
        jaxchar.fit(CONFIG, tmp_path / "run", display=quiet())


@promises.SIGNALS
@pytest.mark.parametrize("number", ALL_SIGNALS)
def test_a_signal_before_training_leaves_with_its_exit_code(number, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jaxchar.training.launch.load_dataset", lambda *_: send(number)())
    assert main(f"--run-dir={tmp_path}/run") == 128 + number
    assert "stopped; nothing had to be saved" in capsys.readouterr().err


def test_handlers_of_the_host_are_put_back_and_those_for_its_own_use_left_alone(tmp_path, monkeypatch):
    called, before, mine = [], {}, {}
    for number in signals.STOP_SIGNALS:
        mine[number] = lambda number, frame: called.append(number)
        before[number] = signal.signal(number, mine[number])
    try:
        at_first_chunk(monkeypatch, send(signal.SIGUSR1))
        wakeup = signal.set_wakeup_fd(-1)
        jaxchar.fit(CONFIG, tmp_path / "run", display=quiet())
        assert {number: signal.getsignal(number) for number in mine} == mine
        assert signal.set_wakeup_fd(wakeup) == -1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert called == [signal.SIGUSR1]
    assert_whole(tmp_path / "run")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells of handlers in C")
def test_a_stack_trace_on_a_signal_still_works_within_fit_and_after(tmp_path, monkeypatch):
    with (tmp_path / "traces").open("w") as traces:
        faulthandler.register(signal.SIGUSR2, file=traces)
        try:
            at_first_chunk(monkeypatch, send(signal.SIGUSR2))
            jaxchar.fit(CONFIG, tmp_path / "run", display=quiet())
            send(signal.SIGUSR2)()
        finally:
            faulthandler.unregister(signal.SIGUSR2)
    assert (tmp_path / "traces").read_text().count("Current thread") == 2
    assert_whole(tmp_path / "run")


# ---- the end of a run that was finished, or nearly -------------------------------------------------

KILLED_BEFORE_ITS_SUMMARY = """
import os, signal, sys
from jaxchar import train
from jaxchar.training.trainer import Trainer
Trainer.sum_up = lambda trainer, stopped_by: os.kill(os.getpid(), signal.SIGKILL)
train.main(arguments=sys.argv[1:])
"""


@promises.FINISHED
def test_killed_between_its_last_save_and_its_summary_a_run_is_resumed_to_its_end(tmp_path, capsys):
    options = ["--epochs=2", f"--run-dir={tmp_path}/run"]
    command = [sys.executable, "-c", KILLED_BEFORE_ITS_SUMMARY, *DOOR, *options]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    assert main("--epochs=2", f"--run-dir={tmp_path}/run", "--resume") == 0
    assert f"is finished at step {STEPS}" in capsys.readouterr().out
    assert_whole(tmp_path / "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that is finished, for all tests to copy."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    jaxchar.fit(CONFIG, run_dir, display=quiet())
    return run_dir


@pytest.fixture
def finished(trained, tmp_path) -> Path:
    """A run that is finished, of a test's own."""
    return shutil.copytree(trained, tmp_path / "run")


@promises.FINISHED
@pytest.mark.parametrize(
    "missing", [[], ["summary.json"], ["loss.png"], ["summary.json", "loss.png", "config.json"]]
)
def test_a_finished_run_gets_what_is_missing_and_keeps_the_rest(missing, finished, monkeypatch):
    before = {name: (finished / name).read_bytes() for name in ("summary.json", "config.json")}
    for name in missing:
        (finished / name).unlink()
    there = {path: path.stat().st_mtime_ns for path in finished.glob("*.p*g")} if not missing else {}
    monkeypatch.delattr(Trainer, "_compiled")  # nothing is to be trained
    run = jaxchar.resume(finished, display=quiet())
    assert run.stopped_by is None and run.summary["steps"] == STEPS
    assert {name: (finished / name).read_bytes() for name in before} == before
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert_whole(finished)


@promises.FINISHED
def test_a_summary_of_an_earlier_stop_is_brought_up_to_date(finished):
    right = (finished / "summary.json").read_text()
    (finished / "summary.json").write_text(json.dumps({**json.loads(right), "steps": 3, "train_loss": 9.0}))
    jaxchar.resume(finished, display=quiet())
    assert (finished / "summary.json").read_text() == right


@promises.FINISHED
def test_more_epochs_train_on_and_fewer_are_refused(finished):
    assert (
        jaxchar.resume(finished, config=CONFIG.replace(epochs=3), display=quiet()).summary["steps"]
        == 3 * EPOCH
    )
    with pytest.raises(JaxcharError, match="at step 42, beyond the 28 that are asked for; give more epochs="):
        jaxchar.resume(finished, config=CONFIG, display=quiet())


@promises.FINISHED
def test_a_run_that_was_stopped_early_is_finished_until_more_is_asked_for(tmp_path, capsys):
    config = CONFIG.replace(epochs=50, early_stopping=2, learning_rate=1e-12)
    run = jaxchar.fit(config, tmp_path / "run", display=quiet())
    (tmp_path / "run" / "summary.json").unlink()
    steps = run.summary["steps"]
    assert steps < 50 * EPOCH
    assert jaxchar.resume(tmp_path / "run").summary == run.summary
    assert f"is finished at step {steps}: 2 evaluations in a row were not better" in capsys.readouterr().out
    assert (tmp_path / "run" / "summary.json").exists()
    longer = jaxchar.resume(tmp_path / "run", config=config.replace(epochs=51), display=quiet())
    assert longer.summary["steps"] == steps + EPOCH
    patient = jaxchar.resume(
        tmp_path / "run", config=config.replace(epochs=51, early_stopping=4), display=quiet()
    )
    assert patient.summary["steps"] == steps + 2 * EPOCH


@promises.SIGNALS
def test_a_signal_at_the_very_end_leaves_a_finished_run_and_exit_code_0(tmp_path, monkeypatch, capsys):
    save_the_end = Trainer._save_the_end

    def interrupted(trainer):
        os.kill(os.getpid(), signal.SIGTERM)
        save_the_end(trainer)

    monkeypatch.setattr(Trainer, "_save_the_end", interrupted)
    assert main("--epochs=2", f"--run-dir={tmp_path}/run") == 0
    assert "stopped at step" not in capsys.readouterr().out
    assert_whole(tmp_path / "run")


# ---- positions -------------------------------------------------------------------------------------


class Positions(TrainingDisplay):
    """Shows nothing, and remembers every position."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.positions: list[str] = []

    def progress(self, step, position, *_) -> None:
        self.positions.append(position.split("/")[0])

    def evaluation(self, position, *_) -> None:
        self.positions.append(position)


def test_a_step_is_of_one_epoch_wherever_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_timed", lambda trainer, steps, seconds: 1)
    display = Positions()
    jaxchar.fit(CONFIG, tmp_path / "run", display=display)
    expected = [f"epoch {1 + (step - 1) // EPOCH}  step {step}" for step in range(1, STEPS + 1)]
    assert sorted(set(display.positions), key=expected.index) == expected


@promises.SIGNALS
def test_a_signal_while_the_machine_is_measured_waits_until_that_has_ended(tmp_path, monkeypatch, capsys):
    """An exception inside of JAX while it compiles would end the process by a segmentation fault."""
    ended = []

    def measure(*_):
        send(signal.SIGINT)()
        time.sleep(0.1)
        ended.append(True)
        return 0.01

    monkeypatch.setattr("jaxchar.training.planner.seconds_per_step", measure)
    assert main(f"--run-dir={tmp_path}/run") == 128 + signal.SIGINT
    assert ended
    assert "stopped; nothing had to be saved" in capsys.readouterr().err

"""A signal that asks a run to stop: it saves, says how to continue, and leaves with its exit code."""

import faulthandler
import os
import shlex
import signal
import threading
import time
from pathlib import Path

import promises
import pytest
from command_runs import CONFIG, STEPS, assert_whole, main
from runs import quiet

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.training import signals
from jaxchar.training.pace import Pace
from jaxchar.training.saving import Saver
from jaxchar.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("unmeasured")

# Ctrl-C and a closed terminal always; all of them in `make prove`.
QUICK = (signal.SIGINT, signal.SIGHUP)
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
    monkeypatch.setattr(Pace, "add", lambda pace, steps, seconds: 1)


def send(number: int, times: int = 1, pause: float = 0.0):
    """Return what sends signals to this process."""

    def kill() -> None:
        for time_number in range(times):
            time.sleep(pause if time_number else 0.0)
            os.kill(os.getpid(), number)

    return kill


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
    monkeypatch.setattr("jaxchar.training.donor.load_dataset", lambda *_: send(number)())
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


@promises.SIGNALS
def test_a_signal_at_the_very_end_leaves_a_finished_run_and_exit_code_0(tmp_path, monkeypatch, capsys):
    save_the_end = Saver.save_the_end

    def interrupted(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        save_the_end(*given)

    monkeypatch.setattr(Saver, "save_the_end", interrupted)
    assert main("--epochs=2", f"--run-dir={tmp_path}/run") == 0
    assert "stopped at step" not in capsys.readouterr().out
    assert_whole(tmp_path / "run")


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

"""Two processes that train one model together end where a single one does."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from runs import TINY, quiet, timeless_metrics

from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.layout import steps_in
from jaxchar.errors import JaxcharError
from jaxchar.parallel.processes import agree, join
from jaxchar.training.launch import fit
from jaxchar.training.resume import resume
from jaxchar.training.step import state_structure

CONFIG = TINY.replace(devices=1, sample_length=20)
FLAGS = [
    *("--corpus", "python", "--max-chars", "1000", "--batch-size", "4", "--seq-len", "16"),
    *("--hidden-size", "6", "--recurrent-init", "same", "--devices", "1", "--sample-length", "20"),
]


def free_port():
    with socket.socket() as waiting:
        waiting.bind(("localhost", 0))
        return waiting.getsockname()[1]


# As an experiment, so that nothing is chosen for the text.
AS_EXPERIMENT = [
    "-c",
    "from jaxchar.config import Config; from jaxchar.train import main; main(Config(), 'run')",
]


def start(*flags, command=("-m", "jaxchar.train")):
    """Start two processes with the same flags, which may hold what is only for one: ``{1: [...]}``."""
    meet = ["--coordinator", f"localhost:{free_port()}", "--num-processes", "2", "--process-id"]
    command = [sys.executable, *command]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    streams["env"] = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    processes = []
    for number in range(2):
        own = [
            part for flag in flags for part in (flag.get(number, []) if isinstance(flag, dict) else [flag])
        ]
        processes.append(subprocess.Popen([*command, *meet, str(number), *own], **streams))
    return processes


def ends(processes):
    """Return what both have come to: (exit code, standard output, standard error) each."""
    told = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, told, strict=True)]


def leaves(run_dir):
    loaded = load_checkpoint(run_dir, state_structure)
    return {name: np.asarray(leaf) for name, leaf in named_leaves(loaded.state).items()}


@pytest.mark.slow  # four processes that compile
@pytest.mark.parametrize("epochs", [1, 2])
def test_two_processes_train_save_once_and_resume_as_one_does(epochs, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    first, second = ends(start(*FLAGS, "--epochs", "1", "--run-dir", str(together), command=AS_EXPERIMENT))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "CharRNN on 2 x cpu" in first[1]
    assert "CharRNN" not in second[1]  # one of them talks
    fit(CONFIG, alone, display=quiet())
    if epochs > 1:
        resumed = ends(start("--resume", "--epochs", str(epochs), "--run-dir", str(together)))
        assert [code for code, *_ in resumed] == [0, 0], resumed
        resume(alone, config=CONFIG.replace(epochs=epochs), display=quiet())
    assert steps_in(together / "checkpoints") == steps_in(alone / "checkpoints")
    expected, found = leaves(alone), leaves(together)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=2e-5, err_msg=name)
    for there, here in zip(timeless_metrics(alone), timeless_metrics(together), strict=True):
        assert here == pytest.approx(there, rel=1e-4)


@pytest.mark.slow
def test_a_signal_to_one_of_them_stops_and_saves_for_both(tmp_path):
    run_dir = tmp_path / "run"
    processes = start(*FLAGS, "--epochs", "100000", "--checkpoint-every", "100", "--run-dir", str(run_dir))
    deadline = time.monotonic() + 60
    while not steps_in(run_dir / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)
    assert [code for code, *_ in ends(processes)] == [128 + signal.SIGTERM] * 2
    loaded = load_checkpoint(run_dir, state_structure)
    assert loaded.metadata.step == loaded.state.step > 0


@pytest.mark.parametrize(
    ("flags", "complaints"),
    [
        pytest.param(
            [{1: ["--seed", "1"]}], ["differ in their settings"] * 2, marks=pytest.mark.slow, id="seed"
        ),
        pytest.param(
            [{1: ["--corpus", "/nowhere"]}],
            ["another process of this run could not go on", "/nowhere"],
            marks=pytest.mark.slow,
            id="corpus",
        ),
    ],
)
def test_if_one_cannot_begin_none_does(flags, complaints, tmp_path):
    for (code, _, said), complaint in zip(
        ends(start(*FLAGS, "--run-dir", str(tmp_path / "run"), *flags)), complaints, strict=True
    ):
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert code == 2, said
        assert len(errors) == 1 and complaint in errors[0]
    assert not (tmp_path / "run").exists()


def test_a_single_process_agrees_with_itself():
    assert agree(3, 0) == (3, 0)


def test_a_meeting_that_cannot_be_is_one_line():
    with pytest.raises(JaxcharError, match=r"could not meet: .*coordinator="):
        join(None, None, None)  # no launcher has started the tests; and JAX has begun

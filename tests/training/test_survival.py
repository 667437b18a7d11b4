"""A run survives being killed or stopped at any moment, and ends in the same bits."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import promises
import pytest
from runs import quiet, timeless_metrics

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.arrays import named_leaves, read_state
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.dataset import load_dataset
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.step import make_program, state_structure
from jaxchar.training.trainer import Trainer

VICTIM = Path(__file__).parent.parent / "victim.py"
SETTINGS = {
    "corpus": "python",
    "max_chars": 1_300,
    "batch_size": 4,
    "seq_len": 16,
    "hidden_size": 8,
    "dropout": 0.2,
    "schedule": "exponential",
    "ema_decay": 0.9,
    "recurrent_init": "same",  # quick to compile
    "epochs": 2,
    "log_every": 5,
    "sample_length": 0,
    "checkpoint_every": 3,
    "keep_checkpoints": 2,
}
KILLS_A_RUN = 5
AS_USERS_DO = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}  # compile; see conftest.py
pytestmark = pytest.mark.usefixtures("unmeasured")


def digests(run_dir: Path) -> tuple[str, str]:
    """Return the SHA-256 of a run's final state, and of its metrics less what the clock says."""
    state = hashlib.sha256()
    for name, leaf in named_leaves(load_checkpoint(run_dir, state_structure).state).items():
        state.update(name.encode())
        state.update(np.asarray(leaf).tobytes())
    return state.hexdigest(), hashlib.sha256(json.dumps(timeless_metrics(run_dir)).encode()).hexdigest()


class Victim:
    """A run in processes of its own, and the journal of what happened to it."""

    def __init__(self, folder: Path, compiled: Path, environment: dict[str, str], **settings: object) -> None:
        self.run_dir, self.journal = folder / "run", folder / "journal"
        self.settings = {**SETTINGS, **settings}
        self.environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
            **environment,
        }

    def run(self, moment: str) -> int:
        """Begin or resume the run, to be killed at a moment; return the exit code."""
        command = [sys.executable, VICTIM, self.run_dir, self.journal, moment, json.dumps(self.settings)]
        return subprocess.run(list(map(str, command)), env=self.environment).returncode

    def told(self, what: str) -> list[str]:
        """Return what the journal says about one thing, in order."""
        lines = [line.split(maxsplit=1) for line in self.journal.read_text().splitlines()]
        return [value for name, value in lines if name == what]


@pytest.fixture(scope="module")
def undisturbed(request, tmp_path_factory) -> tuple[tuple[Path, dict[str, str]], int, tuple[str, str]]:
    """Return how victims compile, how many events a save has, and how the run must end."""
    compiled = tmp_path_factory.mktemp("victims"), request.param
    victim = Victim(tmp_path_factory.mktemp("undisturbed"), *compiled)
    assert victim.run("never") == 0
    return compiled, min(map(int, victim.told("events"))), digests(victim.run_dir)


@promises.KILLED
@pytest.mark.parametrize(
    ("undisturbed", "in_background", "kills"),
    [
        pytest.param({}, True, 2, id="background-2", marks=pytest.mark.slow),
        *(
            pytest.param(AS_USERS_DO, in_background, kills, marks=pytest.mark.slow, id=f"{name}-{kills}")
            for in_background, name in ((True, "background"), (False, "waiting"))
            for kills in (KILLS_A_RUN, 50)
        ),
    ],
    indirect=["undisturbed"],
)
def test_killed_again_and_again_it_ends_in_the_same_bits(undisturbed, tmp_path, in_background, kills, tried):
    compiled, events, end = undisturbed
    moments = random.Random(f"{in_background} {kills}")
    in_a_save = survived = 0
    kills_a_run = min(kills, KILLS_A_RUN)
    for number in range(kills // kills_a_run):
        folder = tmp_path / str(number)
        folder.mkdir()
        victim = Victim(folder, *compiled, save_in_background=in_background)
        for _ in range(kills_a_run):
            save = f"save {moments.choice((1, 1, 2))} {moments.randrange(1, events)}"
            assert victim.run(moments.choice([save] * 4 + ["train 3"])) == -signal.SIGKILL
        assert victim.run("never") == 0
        assert_nothing_saved_was_lost(victim)
        in_a_save += victim.told("killed").count("save")
        survived += kills_a_run * (digests(victim.run_dir) == end)
    assert in_a_save > kills / 2
    tried(survived, kills)


def assert_nothing_saved_was_lost(victim: Victim) -> None:
    """Fail unless every process began at the last step whose save had ended, or later."""
    saved = 0
    for line in victim.journal.read_text().splitlines():
        what, value = line.split()
        if what == "start":
            assert int(value) >= saved
        saved = int(value) if what == "saved" else saved


# ---- every step ----------------------------------------------------------------------------------

STREAMS = Config.from_json(SETTINGS).replace(
    max_chars=3_600,
    epochs=1,
    input_dropout=0.1,
    recurrent_dropout=0.1,
    weight_dropout=0.1,
    lane_offsets=True,
    checkpoint_every=1,
    keep_checkpoints=0,
)
WINDOWS = STREAMS.replace(
    batching="windows", lane_offsets=False, stride=16, shuffle=True, epochs=2, max_steps=50, eval_stride=16
)


@promises.EVERY_STEP
@pytest.mark.parametrize(
    ("config", "last"),
    [
        pytest.param(STREAMS, 10, id="streams-10"),
        pytest.param(STREAMS, 50, id="streams-50", marks=pytest.mark.slow),
        pytest.param(WINDOWS, 50, id="windows-50", marks=pytest.mark.slow),
    ],
)
def test_resumed_at_every_step_it_ends_in_the_same_bits(config, last, tmp_path, tried):
    config = config.replace(max_steps=last)
    jaxchar.fit(config, tmp_path / "run", display=quiet())
    steps = [step for step in steps_in(tmp_path / "run" / FOLDER) if step < last]
    dataset = load_dataset(config)
    program = make_program(config, len(dataset.vocabulary), len(dataset.splits["train"]))
    compiled = program.compiled_for(program.initial_state(), dataset.splits["train"])
    like = jax.eval_shape(program.initial_state)
    end = read_state(tmp_path / "run" / FOLDER / str(last), like)
    same = 0
    for step in steps:
        start = read_state(tmp_path / "run" / FOLDER / str(step), like)
        state, _ = compiled(start, dataset.splits["train"], np.int32(last), program.seed)
        same += all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(end)))
    assert steps == list(range(last - 1, 0, -1))
    tried(same + 1, last)  # and the run itself, from step 0


# ---- signals -------------------------------------------------------------------------------------

PHASES = {
    "compiling": (Trainer, "_compiled"),
    "training": (Trainer, "_train_chunk"),
    "evaluating": (Trainer, "_evaluate_now"),
    "sampling": (Trainer, "_sample_now"),
    "saving": (CheckpointStore, "save"),
}
SMALL = {
    "corpus": "python",
    "max-chars": 1_000,
    "batch-size": 4,
    "seq-len": 16,
    "hidden-size": 8,
    "epochs": 4,
    "optimizer": "adamw",
    "recurrent-init": "same",  # both quick to compile
}
LOOKING = {"log-every": 5, "sample-length": 5, "sample-every": 7, "eval-every": 6}
OPTIONS = [f"--{name}={value}" for name, value in {**SMALL, **LOOKING}.items()]


@promises.SIGNALS
@pytest.mark.parametrize(
    "saving", ["--save-in-background", pytest.param("--no-save-in-background", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.parametrize(
    "phase", [pytest.param(name, marks=pytest.mark.slow if name == "sampling" else ()) for name in PHASES]
)
def test_a_signal_saves_what_was_done_and_leaves(phase, number, saving, tmp_path, monkeypatch, capsys):
    owner, name = PHASES[phase]
    within, done = getattr(owner, name), []

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), number)
        return within(*arguments, **options)

    def counted(trainer, *arguments):
        chunk = train_chunk(trainer, *arguments)
        done.append(trainer.step)
        return chunk

    monkeypatch.setattr(owner, name, interrupted)
    train_chunk = Trainer._train_chunk
    monkeypatch.setattr(Trainer, "_train_chunk", counted)
    with pytest.raises(SystemExit) as left:
        train.main(arguments=[*OPTIONS, saving, "--run-dir", str(tmp_path / "run")])
    assert left.value.code == 128 + number
    assert steps_in(tmp_path / "run" / FOLDER)[0] == (done[-1] if done else 0)
    assert "The run is in" in capsys.readouterr().out


SECOND = """
import ctypes, os, signal, sys, threading
from jaxchar import train
from jaxchar.training import planner
from jaxchar.training.trainer import Trainer

planner.seconds_per_step = lambda *_: 0.01

def busy_in_c(trainer):
    os.kill(os.getpid(), signal.{name})
    # The second one comes while no bytecode of the main thread runs, as in a long compilation.
    libc = ctypes.CDLL(None)
    # It comes so late that it is no second copy of the first.
    threading.Timer(0.8, libc.kill, (os.getpid(), signal.{name})).start()
    while True:
        libc.pause()

Trainer._compiled = busy_in_c
train.main(arguments=sys.argv[1:])
"""


@promises.SIGNALS
@pytest.mark.parametrize("name", [pytest.param("SIGTERM", marks=pytest.mark.slow), "SIGINT"])
def test_a_second_signal_leaves_at_once_whatever_goes_on(name, tmp_path):
    command = [sys.executable, "-c", SECOND.format(name=name), *OPTIONS, "--run-dir", str(tmp_path / "run")]
    left = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert left.returncode == 128 + getattr(signal, name)
    assert "Traceback" not in left.stderr
    assert not RunFolder(tmp_path / "run").holds_run() or not steps_in(tmp_path / "run" / FOLDER)

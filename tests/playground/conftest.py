"""A tiny run with two checkpoints, and a server that shows it."""

import threading
import time

import pytest

import jaxchar
from jaxchar.playground.app import Playground
from jaxchar.playground.library import Library
from jaxchar.playground.server import bound, server_of

TEXT = 'Then "he" (the cat)\n  sat 12 on 7 MATS,\nand said: no [nothing] at all.\n\n' * 60
SETTINGS = {
    "cell": "gru",
    "hidden_size": 8,
    "batch_size": 4,
    "seq_len": 16,
    "epochs": 2,
    "max_steps": 40,
    "checkpoint_every": 20,
    "eval_every": 20,
    "log_every": 5,
    "sample_length": 0,
    "optimizer": "adamw",
    "recurrent_init": "same",  # both quick to compile
    "learning_rate": 0.01,
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with one run, named small, of 40 steps."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patching:  # to measure the machine is to compile once more
        patching.setattr("jaxchar.training.planner.seconds_per_step", lambda *_: 0.01)
        jaxchar.fit(jaxchar.Text(TEXT), run_dir=folder / "small", **SETTINGS)
    return folder


@pytest.fixture(scope="session")
def library(runs):
    return Library([runs])


@pytest.fixture(scope="session")
def served(library):
    """Where the run is served, until the tests end."""
    address = bound(port=0)
    server = server_of(Playground(library).application(address.host, address.port))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield address
    server.should_exit = True
    thread.join(10)

"""Any number of devices trains the same, and reads what any other number has saved."""

import functools
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import promises
import pytest
from runs import TINY, quiet, timeless_metrics

from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.errors import JaxcharError
from jaxchar.parallel.devices import AXIS, check_precision, make_mesh, replicate
from jaxchar.training.launch import fit
from jaxchar.training.resume import resume
from jaxchar.training.step import make_program, state_structure

V, N = 5, 400
IDS = np.random.default_rng(0).integers(0, V, N).astype(np.uint8)
STREAMS = TINY.replace(dropout=0.2, recurrent_dropout=0.1, input_dropout=0.1, clip_norm=1.0, hidden_size=8)
STREAMS = STREAMS.replace(weight_dropout=0.2, lane_offsets=True)
WINDOWS = TINY.replace(batching="windows", shuffle=True, return_sequences=False, cell="gru", ema_decay=0.9)
MUON = TINY.replace(optimizer="muon", cell="gru", num_layers=2, embedding_size=3)


program_on = functools.cache(lambda config, mesh: make_program(config, V, N, mesh))


def trained(config, num_devices, steps=9):
    """Return the leaves of the state after some steps on so many devices, by name."""
    mesh = make_mesh(num_devices, config.batch_size)
    program = program_on(config, mesh)
    ids, stop = replicate(IDS, mesh), np.int32(steps)
    state, _ = program.train_steps(program.initial_state(), ids, stop, program.seed)
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}


@pytest.mark.parametrize(
    ("config", "num_devices"),
    [
        pytest.param(config, num_devices, id=f"{name}-{num_devices}", marks=() if often else pytest.mark.slow)
        for name, config, num_devices, often in (
            ("streams", STREAMS, 2, False),
            ("streams", STREAMS, 4, True),
            ("windows", WINDOWS, 2, False),
            ("windows", WINDOWS, 4, False),
            ("muon", MUON, 2, False),
            ("muon", MUON, 4, False),
        )
    ],
)
def test_devices_train_the_same_to_rounding_and_bit_for_bit_among_their_like(config, num_devices):
    alone, several = trained(config, 1), trained(config, num_devices)
    for name, leaf in trained(config, num_devices).items():
        np.testing.assert_array_equal(leaf, several[name], err_msg=name)
        np.testing.assert_allclose(leaf, alone[name], rtol=2e-3, atol=2e-5, err_msg=name)
    assert any((several[name] != alone[name]).any() for name in alone)  # it was not the same program


def test_each_device_keeps_to_its_rows():
    """What is exchanged is gradients and, once a call, the carried state; never a batch's activations."""
    mesh = make_mesh(2, TINY.batch_size)
    program = make_program(TINY, V, N, mesh)
    compiled = program.compiled_for(program.initial_state(), replicate(IDS, mesh))
    exchanged = re.findall(r"= (.*) (all-reduce|all-gather|all-to-all)\(", compiled.as_text())
    gathered = [re.findall(r"\[([\d,]*)\]", shapes) for shapes, kind in exchanged if kind != "all-reduce"]
    assert {kind for _, kind in exchanged} == {"all-reduce", "all-gather"}
    assert {shape for shapes in gathered for shape in shapes} == {f"{TINY.batch_size},{TINY.hidden_size}"}


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_one_device_is_used_unless_more_are_asked_for(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert make_mesh(None, 6).size == 1
    assert make_mesh(2, 6).shape == {AXIS: 2}


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(JaxcharError, match="batch of 6 cannot be split evenly between 4 devices"):
        make_mesh(4, 6)
    with pytest.raises(JaxcharError, match=r"^devices is 5, but there are 4 here"):
        make_mesh(5, 10)


def test_a_run_moves_from_two_devices_to_one(tmp_path):
    config = TINY.replace(devices=2, epochs=2)
    fit(config, tmp_path / "two", display=quiet())
    fit(config.replace(epochs=1), tmp_path / "moved", display=quiet())
    resume(tmp_path / "moved", config=config.replace(devices=1), display=quiet())
    two, moved = (timeless_metrics(tmp_path / name) for name in ("two", "moved"))
    assert [record["step"] for record in moved] == [record["step"] for record in two]
    for there, here in zip(two, moved, strict=True):
        assert here == pytest.approx(there, rel=1e-4)
    counts = [
        load_checkpoint(tmp_path / name, state_structure).metadata.machine["device_count"]
        for name in ("two", "moved")
    ]
    assert counts == [2, 1]


# ---- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "fits"),
    [
        ({"platform": "gpu", "device_kind": "NVIDIA A100", "compute_capability": "8.0"}, True),
        ({"platform": "cuda", "device_kind": "NVIDIA H100", "compute_capability": "9.0"}, True),
        ({"platform": "gpu", "device_kind": "Tesla V100", "compute_capability": "7.0"}, False),
        ({"platform": "gpu", "device_kind": "MI300X", "compute_capability": "gfx942"}, True),
        ({"platform": "tpu", "device_kind": "TPU v5 lite"}, False),
        ({"platform": "cpu", "device_kind": "cpu"}, True),
    ],
)
def test_tf32_is_refused_where_the_device_does_not_have_it(device, fits):
    check_precision(SimpleNamespace(**device), "highest")
    if fits:
        check_precision(SimpleNamespace(**device), "tf32")
        return
    with pytest.raises(JaxcharError, match=rf"^precision is 'tf32', which {device['device_kind']} does not"):
        check_precision(SimpleNamespace(**device), "tf32")


# ---- checkpoints ---------------------------------------------------------------------------------

MOVE = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(sys.argv[3]))
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxchar.checkpoint.arrays import named_leaves, read_state
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.data.vocabulary import Vocabulary

run_dir, action = Path(sys.argv[1]), sys.argv[2]
values = {"split": np.arange(16, dtype=np.float32).reshape(8, 2) / 3, "whole": np.arange(3)}
values["count"] = np.int32(7)
like = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, values))
assert jax.device_count() == int(sys.argv[3])
if action == "save":
    mesh = Mesh(np.array(jax.devices()), ("data",))
    specs = {"split": PartitionSpec("data"), "whole": PartitionSpec(), "count": PartitionSpec()}
    state = {name: jax.device_put(values[name], NamedSharding(mesh, specs[name])) for name in values}
    assert len(state["split"].sharding.device_set) == int(sys.argv[3])
    metadata = Metadata(
        step=1, epoch=0, steps_per_epoch=10, config=Config(), vocabulary=Vocabulary("ab"),
        corpus={"source": ["x"], "sha256": "0" * 64, "characters": 2}, metrics={}, last={}, best={}, logs={},
        versions=library_versions(), machine=describe_machine(jax.device_count()),
    )
    with CheckpointStore(run_dir) as store:
        store.save(state, metadata)
    assert store.last_error is None, store.last_error
else:
    state = read_state(run_dir / "checkpoints" / "1", like)
    for name, leaf in named_leaves(state).items():
        assert leaf.dtype == values[name].dtype or name == "whole"
        np.testing.assert_array_equal(leaf, values[name])
    print("equal")
"""


@promises.DEVICES
@pytest.mark.parametrize(
    ("saved_from", "read_on"),
    [(4, 1), *(pytest.param(*counts, marks=pytest.mark.slow) for counts in ((1, 4), (2, 4)))],
)
def test_arrays_are_equal_on_another_number_of_devices(saved_from, read_on, tmp_path):
    for action, count in (("save", saved_from), ("read", read_on)):
        command = [sys.executable, "-c", MOVE, str(tmp_path), action, str(count)]
        said = subprocess.run(command, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
    assert said.stdout == "equal\n"
    metadata = json.loads((tmp_path / "checkpoints" / "1" / "metadata" / "metadata").read_text())
    assert metadata["machine"]["device_count"] == saved_from

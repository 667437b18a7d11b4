"""A checkpoint saved from any number of devices is read on any other."""

import json
import subprocess
import sys

import promises
import pytest

pytestmark = promises.DEVICES

MOVE = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(sys.argv[3]))
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxchar.checkpoint import CheckpointStore, named_leaves, read_state
from jaxchar.config import Config
from jaxchar.metadata import Metadata, describe_machine, library_versions
from jaxchar.vocabulary import Vocabulary

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
        versions=library_versions(), machine=describe_machine(),
    )
    with CheckpointStore(run_dir) as store:
        store.save(state, metadata)
    assert store.problem is None, store.problem
else:
    state = read_state(run_dir / "checkpoints" / "1", like)
    for name, leaf in named_leaves(state).items():
        assert leaf.dtype == values[name].dtype or name == "whole"
        np.testing.assert_array_equal(leaf, values[name])
    print("equal")
"""


@pytest.mark.parametrize(("saved_from", "read_on"), [(4, 1), (1, 4), (2, 4)])
def test_arrays_are_equal_on_another_number_of_devices(saved_from, read_on, tmp_path):
    for action, devices in (("save", saved_from), ("read", read_on)):
        command = [sys.executable, "-c", MOVE, str(tmp_path), action, str(devices)]
        said = subprocess.run(command, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
    assert said.stdout == "equal\n"
    metadata = json.loads((tmp_path / "checkpoints" / "1" / "metadata" / "metadata").read_text())
    assert metadata["machine"]["device_count"] == saved_from

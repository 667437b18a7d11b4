"""Arrays: what is read is what was written, or it is refused."""

import random
from pathlib import Path

import jax.numpy as jnp
import promises
import pytest
from small_checkpoint import assert_equal, load, save, state

from jaxchar.checkpoint.arrays import named_leaves, read_state
from jaxchar.checkpoint.damage import Damaged
from jaxchar.errors import JaxcharError


@pytest.fixture
def run_dir(tmp_path) -> Path:
    return tmp_path / "a run, with spaces é"


@promises.DAMAGE_REFUSED
def test_no_flipped_bit_is_accepted(run_dir):
    """Flip one bit of a file at a time: what still loads must be what was saved."""
    save(run_dir, 3)
    files = sorted(p for p in (run_dir / "checkpoints" / "3").rglob("*") if p.is_file() and p.stat().st_size)
    random.seed(0)
    refused = 0
    for file in files:
        whole = file.read_bytes()
        for position in random.sample(range(len(whole)), min(6, len(whole))):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << random.randrange(8)
            file.write_bytes(flipped)
            try:
                assert_equal(load(run_dir).state, state())
            except JaxcharError:
                refused += 1
        file.write_bytes(whole)
    assert refused > len(files)


@promises.NOTHING_MIXED_UP
def test_another_structure_is_refused(run_dir):
    save(run_dir, 1)
    other = state()
    other["params"]["kernel"] = jnp.zeros((4, 4))
    with pytest.raises(Damaged, match=r"params.kernel is float32\[3, 4\], expected float32\[4, 4\]"):
        read_state(run_dir / "checkpoints" / "1", other)


def test_a_part_of_what_was_saved_can_be_read_alone(run_dir):
    save(run_dir, 1)
    part = {"params": state()["params"]}
    assert_equal(read_state(run_dir / "checkpoints" / "1", part), part)


def test_every_leaf_has_a_name_of_its_own():
    assert list(named_leaves(state())) == [
        "params.kernel",
        "totals.loss",
        "totals.correct",
        "totals.count",
    ]

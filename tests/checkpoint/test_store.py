"""The store: which checkpoints stay, and who writes."""

from pathlib import Path

import pytest
from small_checkpoint import load, metadata, save, state

from jaxchar.checkpoint.layout import steps_in
from jaxchar.checkpoint.store import ReadOnlyStore


@pytest.fixture
def run_dir(tmp_path) -> Path:
    return tmp_path / "a run, with spaces é"


def test_the_newest_so_many_stay_and_the_best_one(run_dir):
    save(run_dir, 1, 2, 3, 4, 5, keep=2, losses={1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: 2.2})
    assert steps_in(run_dir / "checkpoints") == [5, 4, 2]
    assert load(run_dir).metadata.step == 5
    assert load(run_dir, "best").metadata.step == 2


def test_all_stay_where_none_is_to_go(run_dir):
    save(run_dir, *range(7))
    assert steps_in(run_dir / "checkpoints") == [6, 5, 4, 3, 2, 1, 0]


def test_a_store_that_only_reads_writes_nothing(run_dir):
    with ReadOnlyStore(run_dir) as store:
        store.save(state(), metadata(5))
        assert store.newest_step == 5
    assert not run_dir.exists()

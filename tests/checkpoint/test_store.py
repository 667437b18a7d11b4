"""Checkpoints: what is read is what was written, or it is refused."""

import json
import random
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest

import jaxchar
from jaxchar.checkpoint.arrays import named_leaves, read_state, verify
from jaxchar.checkpoint.damage import Damaged
from jaxchar.checkpoint.find import load_checkpoint, peek
from jaxchar.checkpoint.layout import steps_in
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.model.loss import Totals

STATE = {
    "params": {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4) / 7},
    "totals": Totals(np.float32(1.5), np.int32(3), np.int32(4)),
    "average": None,
}


def state() -> dict:
    return jax.tree.map(jnp.asarray, STATE)


def metadata(step: int, val_loss: float | None = None, keep: int = 0) -> Metadata:
    return Metadata(
        step=step,
        epoch=step // 10,
        steps_per_epoch=10,
        config=Config(hidden_size=(3, 4), sample_prompt="\n\ud800", keep_checkpoints=keep),
        vocabulary=Vocabulary("abc\n\ud800\U0001f600"),
        corpus={"source": ["python"], "sha256": "0" * 64, "characters": 7},
        metrics={} if val_loss is None else {"val_loss": val_loss},
        last={},
        best={},
        logs={"metrics.jsonl": 12},
        versions=library_versions(),
        machine=describe_machine(),
    )


def save(run_dir: Path, *steps: int, keep: int = 0, losses: dict[int, float] | None = None) -> None:
    with CheckpointStore(run_dir) as store:
        for step in steps:
            store.save(state(), metadata(step, (losses or {}).get(step), keep))
            store.wait()
            assert store.problem is None
            assert store.newest_step == step


def load(path: Path, which="last"):
    return load_checkpoint(path, lambda _: state(), which)


def assert_equal(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for mine, theirs in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture
def run_dir(tmp_path) -> Path:
    return tmp_path / "a run, with spaces é"


def test_a_checkpoint_comes_back_whole_by_any_of_its_paths(run_dir):
    save(run_dir, 5, 12)
    for path in (run_dir, run_dir / "checkpoints", run_dir / "checkpoints" / "12", f"{run_dir}/"):
        loaded = load(path)
        assert_equal(loaded.state, state())
        assert loaded.metadata == metadata(12)
        assert loaded.warnings == []


def test_the_newest_so_many_stay_and_the_best_one(run_dir):
    save(run_dir, 1, 2, 3, 4, 5, keep=2, losses={1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: 2.2})
    assert steps_in(run_dir / "checkpoints") == [5, 4, 2]
    assert load(run_dir).metadata.step == 5
    assert load(run_dir, "best").metadata.step == 2


def test_all_stay_where_none_is_to_go(run_dir):
    save(run_dir, *range(7))
    assert steps_in(run_dir / "checkpoints") == [6, 5, 4, 3, 2, 1, 0]


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


def damage_by_emptying(checkpoint: Path) -> None:
    for file in sorted(checkpoint.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()


def damage_by_deleting_the_arrays(checkpoint: Path) -> None:
    for file in (checkpoint / "state").rglob("*"):
        if file.is_file():
            file.unlink()


def damage_by_truncating_the_metadata(checkpoint: Path) -> None:
    file = checkpoint / "metadata" / "metadata"
    file.write_bytes(file.read_bytes()[:-40])


def damage_by_changing_a_digest(checkpoint: Path) -> None:
    file = checkpoint / "metadata" / "metadata"
    record = json.loads(file.read_text())
    record["step"] = 99
    file.write_text(json.dumps(record))


DAMAGES = [
    damage_by_emptying,
    damage_by_deleting_the_arrays,
    damage_by_truncating_the_metadata,
    damage_by_changing_a_digest,
]


@promises.DAMAGE_PASSED_OVER
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_passed_over_with_a_word(run_dir, damage):
    save(run_dir, 1, 2)
    damage(run_dir / "checkpoints" / "2")
    loaded = load(run_dir)
    assert loaded.metadata.step == 1
    assert len(loaded.warnings) == 1
    assert "2' is damaged" in loaded.warnings[0]
    with pytest.raises(JaxcharError, match="damaged"):
        load(run_dir / "checkpoints" / "2")


@promises.DAMAGE_PASSED_OVER
def test_with_none_whole_the_error_says_so(run_dir):
    save(run_dir, 1)
    damage_by_deleting_the_arrays(run_dir / "checkpoints" / "1")
    with pytest.raises(JaxcharError, match="that is whole") as caught:
        load(run_dir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["nothing/here", "."])
def test_a_path_without_checkpoints_is_an_error_that_names_it(tmp_path, path):
    with pytest.raises(JaxcharError, match="no checkpoint"):
        load(tmp_path / path)
    with pytest.raises(JaxcharError, match="no checkpoint"):
        peek(tmp_path / path)


def test_a_newer_format_asks_for_an_upgrade(run_dir, monkeypatch):
    save(run_dir, 1)
    monkeypatch.setattr("jaxchar.checkpoint.record.FORMAT_VERSION", 1)
    with pytest.raises(JaxcharError, match="upgrade jaxchar"):
        load(run_dir)


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


# ---- age -----------------------------------------------------------------------------------------


@promises.OLD_CHECKPOINTS
@pytest.mark.parametrize(
    "archive", sorted(Path(__file__).parent.parent.glob("format_*.tar.gz")), ids=lambda p: p.name
)
def test_the_checkpoints_of_every_format_load_write_and_go_on(archive, tmp_path):
    """See make_old_checkpoint.py; an archive that fails here is a promise broken, not a test to update."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    run_dir, text = tmp_path / "run", (tmp_path / "sentence.txt").read_text()
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    assert verify(checkpoint).arrays > 20
    assert jaxchar.load(run_dir).generate("to be", 40, temperature=0) == text[5:45]
    config = peek(run_dir).config.replace(corpus=str(tmp_path / "sentence.txt"))
    more = jaxchar.resume(run_dir, config=config.replace(epochs=config.epochs + 1))
    assert more.summary["val_loss"] < 0.5

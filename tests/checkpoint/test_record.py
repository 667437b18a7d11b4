"""Records: verified by their digest, and readable in every format that was released."""

import tarfile
from pathlib import Path

import promises
import pytest
from small_checkpoint import load, metadata, save

import jaxchar
from jaxchar.checkpoint.arrays import verify
from jaxchar.checkpoint.find import peek
from jaxchar.checkpoint.record import FORMAT_VERSION, read_metadata, read_record, with_digest
from jaxchar.errors import JaxcharError


@pytest.fixture
def run_dir(tmp_path) -> Path:
    return tmp_path / "a run, with spaces é"


def test_a_newer_format_asks_for_an_upgrade(run_dir, monkeypatch):
    save(run_dir, 1)
    monkeypatch.setattr("jaxchar.checkpoint.record.FORMAT_VERSION", 1)
    with pytest.raises(JaxcharError, match="upgrade jaxchar"):
        load(run_dir)


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


def test_a_record_carries_the_digest_of_all_else():
    record = with_digest({"format": FORMAT_VERSION, "step": 3})
    assert list(record) == ["format", "step", "sha256"]
    assert record["sha256"] == with_digest({"step": 3, "format": FORMAT_VERSION})["sha256"]
    assert record["sha256"] != with_digest({"step": 4, "format": FORMAT_VERSION})["sha256"]


def test_what_is_read_is_what_was_recorded(run_dir):
    save(run_dir, 3)
    checkpoint = run_dir / "checkpoints" / "3"
    assert read_metadata(checkpoint) == metadata(3)
    record = read_record(checkpoint)
    assert (record["format"], "sha256" in record) == (FORMAT_VERSION, False)
    assert list(record["leaves"]) == ["params.kernel", "totals.loss", "totals.correct", "totals.count"]

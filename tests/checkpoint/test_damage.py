"""Damage and malice: what is damaged or forged is refused; a whole checkpoint beside it is used."""

import copy
import functools
import gc
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import promises
import pytest
from runs import TINY, quiet, rewrite_metadata

import jaxchar
from jaxchar import sample, train
from jaxchar.checkpoint.arrays import named_leaves, verify
from jaxchar.checkpoint.damage import Damaged
from jaxchar.checkpoint.find import load_checkpoint, peek
from jaxchar.checkpoint.layout import FOLDER
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.training.step import TrainState, make_program

CONFIG = TINY.replace(ema_decay=0.9, epochs=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with two checkpoints, that nobody touches."""
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(CONFIG, run_dir, display=quiet())
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path) -> Path:
    """A copy of the run, to be damaged."""
    gc.freeze()  # after damage, garbage is collected for each array
    return Path(shutil.copytree(trained, tmp_path / "run"))


def checkpoints(run_dir: Path) -> list[Path]:
    return sorted((run_dir / FOLDER).iterdir(), key=lambda path: int(path.name))


def files_of(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


@functools.cache
def structure_for(config: Config, symbols: str, characters: int) -> TrainState:
    return jax.eval_shape(make_program(config, len(symbols), characters).initial_state)


def structure(metadata: Metadata) -> TrainState:
    """Return what state_structure does, remembering it: it is asked for a thousand times."""
    return structure_for(metadata.config, metadata.vocabulary.symbols, metadata.corpus["characters"])


def state_of(path: Path) -> dict[str, np.ndarray]:
    return jax.device_get(named_leaves(load_checkpoint(path, structure).state))


def is_refused_or_equal(checkpoint: Path, expected: dict[str, np.ndarray]) -> bool:
    """Whether nothing but the state that was saved can come out of a checkpoint."""
    try:
        found = state_of(checkpoint)
    except JaxcharError:
        return True
    return found.keys() == expected.keys() and all(map(np.array_equal, found.values(), expected.values()))


# ---- rot -----------------------------------------------------------------------------------------


@promises.DAMAGE_REFUSED
@pytest.mark.parametrize("flips", [40, pytest.param(960, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_never_trained_on(run_dir, flips, tried):
    """Half of the flips fall by size, mostly into arrays; half by file, mostly into what describes them."""
    checkpoint = checkpoints(run_dir)[-1]
    expected, files, chance = state_of(checkpoint), files_of(checkpoint), random.Random(flips)
    sizes = [file.stat().st_size for file in files]
    held = 0
    for number in range(flips):
        (file,) = chance.choices(files, sizes if number % 2 else [size > 0 for size in sizes])
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        file.write_bytes(flipped)
        held += is_refused_or_equal(checkpoint, expected)
        file.write_bytes(whole)
    tried(held, flips)


@promises.DAMAGE_REFUSED
@pytest.mark.parametrize(
    "share",
    [
        pytest.param(0.0, id="emptied", marks=pytest.mark.slow),
        pytest.param(0.5, id="cut in half"),
        pytest.param(None, id="deleted", marks=pytest.mark.slow),
    ],
)
def test_a_file_cut_short_or_missing_is_never_trained_on(run_dir, share, tried):
    checkpoint = checkpoints(run_dir)[-1]
    expected, held = state_of(checkpoint), 0
    files = [file for file in files_of(checkpoint) if file.stat().st_size]
    for file in files:
        whole = file.read_bytes()
        file.unlink()
        if share is not None:
            file.write_bytes(whole[: int(len(whole) * share)])
        held += is_refused_or_equal(checkpoint, expected)
        file.write_bytes(whole)
    assert state_of(checkpoint).keys() == expected.keys()
    tried(held, len(files))


@promises.DAMAGE_REFUSED
def test_every_bit_of_an_array_and_of_the_metadata_counts(run_dir):
    """The two tests above would also pass if damage to the arrays went by unseen and unused."""
    checkpoint = checkpoints(run_dir)[-1]
    arrays = [file for file in files_of(checkpoint / "state") if file.parent.parent.name == "state"]
    data = [file for file in arrays if not file.name.startswith(".")]
    assert len(data) == len(named_leaves(load_checkpoint(run_dir, structure).state)) + 1  # and the memory
    for file in [*data, checkpoint / "metadata" / "metadata"]:
        whole = file.read_bytes()
        file.write_bytes(whole[:-2] + bytes([whole[-2] ^ 4]) + whole[-1:])
        with pytest.raises(Damaged):
            verify(checkpoint)
        with pytest.raises(JaxcharError):
            load_checkpoint(checkpoint, structure)
        file.write_bytes(whole)


# ---- going on nevertheless -----------------------------------------------------------------------


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def half_deleted(checkpoint: Path) -> None:
    for file in files_of(checkpoint)[::2]:
        file.unlink()


def cut_short(checkpoint: Path) -> None:
    for file in files_of(checkpoint / "state"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(checkpoint: Path) -> None:
    (file,) = (checkpoint / "state" / "average.head.kernel").glob("[0-9]*")
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])


def without_metadata(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "metadata")


def a_file(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "state")
    (checkpoint / "state").write_text("not a folder")


DAMAGES = [empty, half_deleted, cut_short, flipped, without_metadata, a_file]
OFTEN = DAMAGES[1:2]
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


@promises.DAMAGE_PASSED_OVER
@each_damage
def test_writing_falls_back_to_the_newest_whole_checkpoint(run_dir, damage, capsys):
    older, newest = checkpoints(run_dir)
    damage(newest)
    sample.main(["--ckpt", str(run_dir), "--length", "5", "--seed", "1"])
    written = capsys.readouterr()
    assert written.err.count("passed over") == written.err.count(f"{newest}' is damaged") == 1
    sample.main(["--ckpt", str(older), "--length", "5", "--seed", "1"])
    assert capsys.readouterr().out == written.out


@promises.DAMAGE_PASSED_OVER
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=damage.__name__, marks=() if damage in OFTEN else pytest.mark.slow)
        for damage in DAMAGES
    ],
)
def test_resuming_falls_back_to_the_newest_whole_checkpoint(run_dir, trained, damage, capsys):
    older, newest = checkpoints(run_dir)
    damage(newest)
    train.main(arguments=["--resume", "--run-dir", str(run_dir)])
    assert capsys.readouterr().out.count("passed over") == 1
    for name, leaf in state_of(trained).items():
        np.testing.assert_array_equal(state_of(run_dir)[name], leaf)
    assert older.exists()


@promises.DAMAGE_PASSED_OVER
@each_damage
def test_with_no_checkpoint_whole_there_is_one_clear_line(run_dir, damage, capsys):
    for checkpoint in checkpoints(run_dir):
        damage(checkpoint)
    for call in (
        lambda: sample.main(["--ckpt", str(run_dir)]),
        lambda: train.main(arguments=["--resume", "--run-dir", str(run_dir)]),
    ):
        with pytest.raises(SystemExit, match="2"):
            call()
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "that is whole" in error


# ---- malice --------------------------------------------------------------------------------------


def array_folder(checkpoint: Path) -> Path:
    return checkpoint / "state" / "average.head.kernel"


def claim_a_huge_array(checkpoint: Path) -> None:
    """Make metadata, settings and array agree that the head has 2^36 rows of weights."""

    def change(record):
        record["config"]["hidden_size"] = 65_536
        for name, leaf in record["leaves"].items():
            leaf["shape"] = [65_536 if size == CONFIG.hidden_size else size for size in leaf["shape"]]
            leaf["shape"] = [4 * 65_536 if size == 4 * CONFIG.hidden_size else size for size in leaf["shape"]]
            zarr = checkpoint / "state" / name / ".zarray"
            described = json.loads(zarr.read_text())
            zarr.write_text(json.dumps({**described, "shape": leaf["shape"], "chunks": leaf["shape"]}))

    rewrite_metadata(checkpoint, change)


def compress_into_a_bomb(checkpoint: Path) -> None:
    zarr = array_folder(checkpoint) / ".zarray"
    described = json.loads(zarr.read_text())
    zarr.write_text(json.dumps({**described, "compressor": {"id": "zstd", "level": 1}}))


def chunk_into_a_bomb(checkpoint: Path) -> None:
    zarr = array_folder(checkpoint) / ".zarray"
    zarr.write_text(json.dumps({**json.loads(zarr.read_text()), "chunks": [1 << 20, 1 << 20]}))


def lead_outside(checkpoint: Path) -> None:
    outside = checkpoint.parent / "elsewhere"
    array_folder(checkpoint).rename(outside)
    array_folder(checkpoint).symlink_to(outside)


def lead_a_file_outside(checkpoint: Path) -> None:
    file = checkpoint / "metadata" / "metadata"
    file.rename(checkpoint.parent / "elsewhere")
    file.symlink_to(checkpoint.parent / "elsewhere")


def name_an_array_outside(checkpoint: Path) -> None:
    def change(record):
        record["leaves"]["../../../secret"] = record["leaves"]["average.head.kernel"]

    rewrite_metadata(checkpoint, change)


ATTACKS = [
    claim_a_huge_array,
    compress_into_a_bomb,
    chunk_into_a_bomb,
    lead_outside,
    lead_a_file_outside,
    name_an_array_outside,
]


@promises.FOREIGN
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_refused_before_any_array_is_read(run_dir, attack, monkeypatch):
    checkpoint = checkpoints(run_dir)[-1]
    attack(checkpoint)
    monkeypatch.setattr("jaxchar.checkpoint.arrays.tensorstore", None)  # reading would be another error
    with pytest.raises(Damaged, match=r"claims|outside|which is no name"):
        verify(checkpoint)


@promises.FOREIGN
def test_metadata_cannot_make_resuming_cut_a_file_outside_of_the_run(run_dir, capsys):
    victim = run_dir.parent / "victim.txt"
    victim.write_text("mine")

    def change(record):
        record["logs"] = {"../victim.txt": 0, "metrics.jsonl": 0}

    rewrite_metadata(checkpoints(run_dir)[0], change)
    shutil.rmtree(checkpoints(run_dir)[1])
    train.main(arguments=["--resume", "--run-dir", str(run_dir)])
    assert victim.read_text() == "mine"


@promises.FOREIGN
def test_a_checkpoint_holds_nothing_but_json_and_numbers(trained):
    for file in files_of(checkpoints(trained)[-1]):
        if file.name[0].isdecimal():  # a chunk: as many bytes as its array has
            described = json.loads((file.parent / ".zarray").read_text())
            num_bytes = np.prod(described["shape"], dtype=int) * np.dtype(described["dtype"]).itemsize
            assert file.stat().st_size == num_bytes
        elif file.name != "commit_success.txt":  # a line of Orbax's
            assert isinstance(json.loads(file.read_text() or "{}"), dict)


ODD_VALUES: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 10**30, -0.0, float("nan"), float("inf"), "", "x", "../..",
    "/etc/passwd", "\x1b[2J", "\ud800", [], [[]], {}, {"a": {}}, ["a"] * 50,
    "__import__('os').system('id')", [1, [2, [3]]],
]  # fmt: skip


def fuzzed(record: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return a record of which one to three places were deleted, renamed, or given another value."""
    record = copy.deepcopy(record)
    for _ in range(chance.randint(1, 3)):
        place: Any = record
        while True:
            key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
            inside = place[key]
            if not isinstance(inside, dict | list) or not inside or chance.random() < 0.3:
                break
            place = inside
        action = chance.random()
        if action < 0.2:
            del place[key]
        elif action < 0.3 and isinstance(place, dict):
            place[str(chance.choice(ODD_VALUES))] = place.pop(key)
        else:
            place[key] = copy.deepcopy(chance.choice(ODD_VALUES))
        if not record:
            break
    return record


class Watch:
    """Takes down what no checkpoint may make Python do: run code, or write outside of a folder."""

    FORBIDDEN = (
        "os.system",
        "subprocess.Popen",
        "os.exec",
        "os.posix_spawn",
        "pickle.find_class",
        "socket.connect",
    )
    CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree", "os.mkdir", "os.symlink")

    def __init__(self, *allowed: str) -> None:
        self.allowed, self.active, self.seen = allowed, False, []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.active:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        path = str(arguments[0]) if arguments else ""
        changes = event in self.CHANGES or writes
        if event in self.FORBIDDEN or (changes and not path.startswith(self.allowed)):
            self.seen.append((event, path))


@promises.FOREIGN
@pytest.mark.parametrize("files", [100, pytest.param(1_900, marks=pytest.mark.slow)])
def test_fuzzed_metadata_does_no_harm(run_dir, files, tried, monkeypatch):
    """The digest is forged to match each time, so that every record gets as far as it can."""
    monkeypatch.setattr("jaxchar.training.resume.train", lambda trainer: None)
    checkpoint = checkpoints(run_dir)[0]
    shutil.rmtree(checkpoints(run_dir)[1])
    original = json.loads((checkpoint / "metadata" / "metadata").read_text())
    del original["sha256"]
    watch = Watch(str(run_dir), jax.config.jax_compilation_cache_dir, os.devnull)
    chance, held = random.Random(files), 0
    uses = [
        lambda: verify(checkpoint),
        lambda: peek(run_dir),
        lambda: jaxchar.load(run_dir).generate(length=1),
        lambda: jaxchar.resume(run_dir, display=quiet()),
    ]
    for number in range(files):
        record = fuzzed(original, chance)
        rewrite_metadata(checkpoint, lambda _, record=record: record)
        watch.active = True
        try:
            uses[number % len(uses)]()
        except JaxcharError as error:
            assert "\n" not in str(error)
        watch.active = False
        held += not watch.seen
        watch.seen.clear()
    tried(held, files)


# ---- age -----------------------------------------------------------------------------------------


@promises.FOREIGN
def test_the_structure_that_weights_need_is_what_the_metadata_says(trained):
    loaded = load_checkpoint(trained, weights_structure)
    assert set(loaded.state) == {"average"}

"""A run may lie anywhere, and is found by any path to it."""

from pathlib import Path

import jax
import numpy as np
import promises
import pytest
from runs import TINY, quiet
from small_checkpoint import metadata

import jaxchar
from jaxchar.checkpoint.arrays import verify
from jaxchar.checkpoint.layout import FOLDER
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.errors import JaxcharError
from jaxchar.training.inspection import inspect_checkpoints

pytestmark = promises.ANY_PATH


def fit(run_dir) -> None:
    jaxchar.fit(TINY, run_dir, display=quiet())


OTHERS = ["run", "./run", "sub/../run", "a/b/c", "run/", "link/run", "-x", "2000", "%s{0}*", "$frac{"]


@pytest.mark.parametrize(
    "path",
    [
        "with spaces, \u017c\u00f3\u0142w-\U0001f422",
        *[pytest.param(path, marks=pytest.mark.slow) for path in OTHERS],
    ],
)
def test_a_run_is_written_and_found_by(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    fit(path)
    (step,) = (Path(path) / FOLDER).iterdir()
    (tmp_path / "to-it").symlink_to(tmp_path / path)
    weights = {
        b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(jaxchar.load(way).params))
        for way in (
            path,
            f"{path}/",
            tmp_path / path,
            Path(path) / FOLDER,
            step,
            f"{step}/",
            "to-it",
            Path("to-it") / FOLDER,
        )
    }
    assert len(weights) == 1
    assert jaxchar.resume(path, config=TINY.replace(epochs=2), display=quiet())


def a_file(path: Path) -> str:
    path.write_text("mine")
    return "is a file"


def below_a_file(path: Path) -> str:
    path.parent.rmdir()
    path.parent.write_text("mine")
    return "cannot"


def a_foreign_folder(path: Path) -> str:
    path.mkdir()
    (path / "thesis.tex").write_text("mine")
    return "is not empty and holds no run"


def a_dangling_link(path: Path) -> str:
    path.symlink_to(path.with_name("nowhere") / "further")
    return "cannot"


@pytest.mark.parametrize("obstacle", [a_file, below_a_file, a_foreign_folder, a_dangling_link])
def test_what_is_no_place_for_a_run_is_refused_and_left_alone(obstacle, tmp_path):
    (tmp_path / "place").mkdir()
    path = tmp_path / "place" / "run"
    reason = obstacle(path)
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    with pytest.raises(JaxcharError, match=reason) as refused:
        fit(path)
    assert "\n" not in str(refused.value)
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


ADDRESSES = [
    "gs://bucket/run",
    "s3://bucket/run",
    "hdfs://node/run",
    "https://host/run",
    "az://x",
    "memory://",
]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a\\b", "has a backslash"),
        ("gs:", "has a folder 'gs:'"),
        ("a/gs:/b", "has a folder 'gs:'"),
        *[(address, "is an address") for address in ADDRESSES],
        *[(Path(address), "is an address") for address in ADDRESSES if address != "memory://"],
        ("file:///tmp/run", "without 'file://': '/tmp/run'"),
    ],
)
def test_what_the_storage_library_would_take_for_another_place_is_refused_before_anything_is_written(
    path, reason, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    uses = (fit, jaxchar.load, jaxchar.resume, inspect_checkpoints)
    uses += (lambda path: jaxchar.fit(TINY, "run", init_from=path, display=quiet()),)
    for use in uses:
        with pytest.raises(JaxcharError, match=f"{reason}|holds no run|no checkpoint") as refused:
            use(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(JaxcharError, match=reason):
        fit(path)
    assert list(tmp_path.iterdir()) == []


LIKELY = ["%41", "?", "#", "|", "~", " ", "\n", "$x", "::", "file:", "\ufeff"]
OTHER = [*map(chr, range(1, 128)), "\x80", "\xa0", "e\u0301", "\u2028", "\u202e"]


@pytest.mark.parametrize(
    "odd", [LIKELY, pytest.param(OTHER, marks=pytest.mark.slow)], ids=["likely", "other"]
)
def test_any_other_name_is_that_of_the_folder(odd, tmp_path, tried):
    values, described = {"a": np.arange(6, dtype=np.float32)}, metadata(1)
    names = {name for o in odd if o not in ("/", "\\") for name in (f"x{o}y", f"{o}y", f"x{o}")}
    held = 0
    for name in names:
        with CheckpointStore(tmp_path / name) as store:
            store.save(values, described)
        held += store.last_error is None and verify(tmp_path / name / FOLDER / "1").arrays == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    tried(held, len(names))


@pytest.mark.parametrize("obstacle", [a_file, a_foreign_folder])
def test_what_holds_no_run_can_neither_be_loaded_nor_resumed(obstacle, tmp_path):
    obstacle(tmp_path / "run")
    for use in (jaxchar.load, jaxchar.resume):
        with pytest.raises(JaxcharError, match=r"no checkpoint|holds no run|is a file"):
            use(tmp_path / "run")

"""A run may lie anywhere, and is found by any path to it."""

from pathlib import Path

import promises
import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar.checkpoint import FOLDER
from jaxchar.errors import JaxcharError

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
    texts = {
        jaxchar.load(way).generate(length=10)
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
    assert len(texts) == 1
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


def test_a_backslash_in_a_path_is_refused_before_anything_is_written(tmp_path):
    for use in (fit, jaxchar.load):
        with pytest.raises(JaxcharError, match="has a backslash"):
            use(tmp_path / "a\\b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("obstacle", [a_file, a_foreign_folder])
def test_what_holds_no_run_can_neither_be_loaded_nor_resumed(obstacle, tmp_path):
    obstacle(tmp_path / "run")
    for use in (jaxchar.load, jaxchar.resume):
        with pytest.raises(JaxcharError, match=r"no checkpoint|holds no run|is a file"):
            use(tmp_path / "run")

"""Files are written whole or not at all, and an address is no path."""

from pathlib import Path

import pytest

from jaxchar.errors import JaxcharError
from jaxchar.files import check_not_url, check_storable, written_whole


def test_a_file_appears_in_one_move_and_replaces_what_was_there(tmp_path):
    file = tmp_path / "a file.json"
    file.write_text("before")
    with written_whole(file) as temporary:
        temporary.write_text("after")
        assert file.read_text() == "before"
    assert file.read_text() == "after"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_that_cannot_be_written_leaves_what_was_there_and_nothing_else(error, tmp_path):
    file = tmp_path / "a file.json"
    file.write_text("before")
    with pytest.raises(error), written_whole(file) as temporary:
        temporary.write_text("half")
        raise error
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_in_place_of_the_file_is_an_error_and_stays(tmp_path):
    (tmp_path / "in the way" / "mine").mkdir(parents=True)
    with pytest.raises(OSError), written_whole(tmp_path / "in the way") as temporary:
        temporary.write_text("text")
    assert list(tmp_path.rglob("*")) == [tmp_path / "in the way", tmp_path / "in the way" / "mine"]


@pytest.mark.parametrize("path", ["gs://bucket/run", Path("gs://bucket/run"), "file:///tmp/run"])
def test_an_address_is_refused_by_the_name_of_the_argument(path):
    with pytest.raises(JaxcharError, match=r"run_dir.*is an address"):
        check_not_url(path, "--run-dir")


@pytest.mark.parametrize("path", ["runs/mine", "a:b", "C", Path("/runs/%41")])
def test_a_path_is_taken_as_it_is(path):
    check_not_url(path, "--run-dir")
    check_storable(Path(path))


@pytest.mark.parametrize("path", ["/a\\b", "/a/gs:/b"])
def test_a_path_that_would_be_written_elsewhere_is_refused(path):
    with pytest.raises(JaxcharError, match="the storage library"):
        check_storable(Path(path))

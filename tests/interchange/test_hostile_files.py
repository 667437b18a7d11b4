"""1,000 hostile files: each is refused in one line, no code of it is run, and nothing is written.

A file with changed bytes may still be a model; it does not count as one of the thousand.
"""

import os
import resource
import sys
import time

import pytest

pytest.importorskip("h5py")
from hostile import FORMATS, Case, hostile

from jaxchar.errors import JaxcharError
from jaxchar.interchange import hdf5, hdf5_child
from jaxchar.interchange.reading import ImportOptions, read_model
from jaxchar.training.imported import import_model

EACH = 125  # of eight formats
MOST_BYTES = 1 << 30  # of memory that reading any of them may take, here and in the reading process
MOST_SECONDS = 60
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
RUNS_SOMETHING = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "ctypes.dlopen")
CHANGES_FILES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "shutil.rmtree")


class Watch:
    """Notes what this process does beside computing."""

    def __init__(self) -> None:
        self.is_on, self.seen = False, []
        sys.addaudithook(self.saw)

    def saw(self, event, args):
        if not self.is_on:
            return
        # A number in place of a path is a pipe that is open already.
        writes = event == "open" and not isinstance(args[0], int) and (args[2] or 0) & WRITING
        starts = event == "subprocess.Popen" and hdf5_child.__file__ not in map(str, args[1])
        if writes or starts or event in RUNS_SOMETHING or event in CHANGES_FILES:
            self.seen.append((event, args))


WATCH = Watch()


def peak_bytes():
    """Return the most memory that this process and its children have had, in bytes."""
    return [
        resource.getrusage(who).ru_maxrss << 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]


def refusal(case: Case, folder):
    """Return the error of a case; None: it is a model. Check that nothing else has happened."""
    (folder / "model").write_bytes(case.model)
    (folder / "vocabulary").write_bytes(case.vocabulary)
    options = ImportOptions(vocabulary=str(folder / "vocabulary"), seq_len=5, gate=case.gate)
    started, error = time.monotonic(), None
    WATCH.seen, WATCH.is_on = [], True
    try:
        if case.is_made:
            import_model(folder / "model", folder / "run", options)
        else:
            read_model(folder / "model", options)
    except JaxcharError as raised:
        error = str(raised)
    finally:
        WATCH.is_on = False
    assert error is not None or not case.is_made, f"{case.label} is taken for a model"
    assert not WATCH.seen, case.label
    assert time.monotonic() - started < MOST_SECONDS, case.label
    assert sorted(path.name for path in folder.iterdir()) == ["model", "vocabulary"], case.label
    if error is not None:
        assert "\n" not in error, case.label
        assert 20 < len(error) < 1_500, case.label
    return error


def check_refused(name, count, tmp_path):
    """Offer files of a format until ``count`` are refused; return how many were models.

    Args:
        name: of the format.
        count: None: only those made on purpose.
        tmp_path: an empty folder.
    """
    canary, folder = tmp_path / "ran", tmp_path / "files"
    folder.mkdir()
    before, refused, taken = peak_bytes(), 0, 0
    for case in hostile(name, str(canary)):
        if refused == count or (count is None and not case.is_made):
            break
        if refusal(case, folder) is None:
            taken += 1
        else:
            refused += 1
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]
    assert all(now - then < MOST_BYTES for then, now in zip(before, peak_bytes(), strict=True))
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_hostile_files_are_refused(name, tmp_path, capsys):
    started = time.monotonic()
    taken = check_refused(name, EACH, tmp_path)
    with capsys.disabled():
        print(f" {name}: {EACH} refused, {taken} still models, {time.monotonic() - started:.0f} s ", end="")


@pytest.mark.parametrize("name", ["safetensors", "PyTorch", "pickle", "JSON"])
def test_those_made_on_purpose_are_refused(name, tmp_path):
    check_refused(name, None, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "Keras 1",
        "Keras 3",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("Keras 2", "Keras 3 weights")),
    ],
)
def test_those_of_keras_made_on_purpose_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "_output_of_child", hdf5_child.output_for)  # without a process for each
    check_refused(name, None, tmp_path)


def test_the_watch_sees_what_would_be_done(tmp_path):
    WATCH.seen, WATCH.is_on = [], True
    try:
        (tmp_path / "written").write_text("")
        os.system("true")
    finally:
        WATCH.is_on = False
    assert [event for event, _ in WATCH.seen] == ["open", "os.system"]

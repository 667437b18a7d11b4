"""One process at a time writes into a run's folder; a file system without locks is named."""

import errno
import fcntl
import os

import numpy as np
import promises
import pytest
from runs import TINY, quiet
from small_checkpoint import metadata

import jaxchar
from jaxchar.checkpoint.lock import LOCK, lock_folder
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.errors import JaxcharError


@promises.ONE_WRITER
def test_a_locked_folder_is_refused_by_the_number_of_the_process_until_it_is_free(tmp_path):
    with lock_folder(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).read_text() == f"{os.getpid()}\n"
        with pytest.raises(JaxcharError, match=f"process {os.getpid()} is training in '.*run'"):
            lock_folder(tmp_path / "run")
        lock_folder(tmp_path / "run", use_lock=False).close()
    lock_folder(tmp_path / "run").close()


@promises.ANY_PATH
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EPERM, errno.EIO])
def test_a_file_system_without_locks_is_named_and_done_without_on_request(number, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    run_dir = tmp_path / "run"
    with pytest.raises(JaxcharError, match="cannot be locked on this file system") as refused:
        jaxchar.fit(TINY, run_dir, display=quiet())
    assert "or add lock=False and" in str(refused.value) and "\n" not in str(refused.value)
    assert os.strerror(number) in str(refused.value)
    with CheckpointStore(run_dir, lock=False) as store:
        store.save({"a": np.zeros(2)}, metadata(1))
    assert store.last_error is None


@promises.ANY_PATH
def test_a_run_may_be_resumed_without_a_lock_and_with_one(tmp_path, monkeypatch):
    locked = []
    monkeypatch.setattr(fcntl, "flock", lambda *_: locked.append(True))
    jaxchar.fit(TINY.replace(lock=False), tmp_path / "run", display=quiet())
    assert not locked
    jaxchar.resume(tmp_path / "run", config=TINY.replace(lock=True, epochs=2), display=quiet())
    assert locked

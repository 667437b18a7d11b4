"""The cache folder: found without a home folder, replaced where it cannot be written to, never believed."""

import os
import stat
import tempfile
from pathlib import Path

import jax
import promises
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from runs import quiet

import jaxchar
from jaxchar import cache

pytestmark = promises.ANY_COMPILER


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test's own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture
def no_home(monkeypatch):
    """A user id without an entry in the list of users, and no HOME."""

    def unknown(*_):
        raise RuntimeError("Could not determine home directory.")

    for name in ("JAXCHAR_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(Path, "home", classmethod(unknown))
    monkeypatch.setattr(Path, "expanduser", unknown)


def test_without_a_home_folder_the_cache_is_the_users_own_temporary_folder(no_home, temporary):
    folder = cache.cache_folder()
    assert folder == temporary / f"jaxchar-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720])
def test_a_folder_that_others_can_write_to_is_not_loaded_from(mode, temporary):
    folder = cache.temporary_folder()
    folder.chmod(mode)
    assert cache.temporary_folder() is None


def test_a_link_or_a_strangers_folder_is_not_loaded_from(temporary, monkeypatch):
    (temporary / "elsewhere").mkdir()
    (temporary / f"jaxchar-{os.getuid()}").symlink_to("elsewhere")
    assert cache.temporary_folder() is None
    stranger = os.getuid() + 1
    (temporary / f"jaxchar-{stranger}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    assert cache.temporary_folder() is None


def test_without_any_folder_for_temporary_files_there_is_none(monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert cache.temporary_folder() is None
    assert cache.folders_for_compiled() == [cache.folder_for_compiled()]


def kept(monkeypatch):
    """Return where JAX is told to keep what it compiles."""
    told = {}
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", None, raising=False)
    cache.enable_compilation_cache()
    return told.get("jax_compilation_cache_dir")


def test_where_the_cache_cannot_be_written_to_the_temporary_folder_is_used(temporary, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path / "file" / "below"))
    assert kept(monkeypatch).startswith(str(temporary))


def test_where_nothing_can_be_written_to_nothing_is_kept(temporary, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(cache, "temporary_folder", lambda: None)
    assert kept(monkeypatch) is None


def test_compiled_programs_are_kept_apart_by_what_they_were_compiled_for(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXCHAR_COMPILED")
    monkeypatch.setenv("JAXCHAR_CACHE", str(tmp_path))
    folders = set()
    for cores in (1, 2):
        monkeypatch.setattr(cache, "num_cores", lambda cores=cores: cores)
        folders.add(kept(monkeypatch))
    assert len(folders) == 2
    assert all(folder.startswith(str(tmp_path / "compiled")) for folder in folders)


def test_the_folder_that_the_user_has_chosen_for_compiled_programs_stays(monkeypatch):
    monkeypatch.setattr(jax.config, "update", lambda *_: pytest.fail("it was changed"))
    cache.enable_compilation_cache()


@pytest.fixture
def no_folder_chosen():
    """JAX without a folder for compiled programs, as in a process that has chosen none."""
    chosen = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", chosen)
    reset_cache()


def test_what_python_compiles_is_kept_and_what_others_compile_is_not(no_folder_chosen, tmp_path, monkeypatch):
    def programs() -> set[Path]:
        return set(tmp_path.rglob("jit_*"))

    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path))
    with cache.compiled_programs_kept():
        jax.jit(lambda x: x * 3 + 7)(1.0)
    kept = programs()
    assert kept
    assert jax.config.jax_compilation_cache_dir is None
    jax.jit(lambda x: x * 5 + 9)(1.0)
    assert programs() == kept


def test_a_folder_that_the_caller_has_chosen_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path))
    with cache.compiled_programs_kept():
        jax.jit(lambda x: x * 2 + 7)(1.0)
    assert not list(tmp_path.rglob("jit_*"))


def test_fit_keeps_what_it_compiles(no_folder_chosen, tmp_path, monkeypatch, text):
    monkeypatch.setenv("JAXCHAR_COMPILED", str(tmp_path / "compiled"))
    settings = {"max_steps": 2, "hidden_size": 5, "sample_length": 0, "val_fraction": 0.0}
    config = jaxchar.Config(corpus=jaxchar.Text(text[:500]), batch_size=2, seq_len=7, **settings)
    jaxchar.fit(config, tmp_path / "run", display=quiet())
    assert list((tmp_path / "compiled").rglob("jit_*"))

"""The cache folder: what can be fetched or compiled again, and where it lies when there is no home folder.

Nothing here is needed: without any folder that can be written, everything is fetched and compiled anew.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxchar.machine import kind_of_processor, num_cores


def cache_folder() -> Path:
    """Return ``JAXCHAR_CACHE``, else the user's cache folder, else (no home folder) a temporary one."""
    chosen = os.environ.get("JAXCHAR_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))  # noqa: PTH111, Path.expanduser fails for unknown users
    from platformdirs import user_cache_path

    with contextlib.suppress(RuntimeError, OSError):  # neither HOME nor an entry in the list of users
        folder = user_cache_path("jaxchar")
        if folder.is_absolute():
            return folder
    return temporary_folder() or Path("jaxchar-cache")


def temporary_folder() -> Path | None:
    """Return this user's own folder for temporary files, which lasts until the system clears it.

    None where there is none that other users cannot write to: code is loaded from it.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"jaxchar-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if private else None


def is_writable(folder: Path) -> bool:
    """Make a folder, if it is not there, and return whether files can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


# ---- compiled programs ---------------------------------------------------------------------------


def folder_for_compiled() -> Path:
    """Return where programs lie that only this kind of processor can run.

    In ``JAXCHAR_COMPILED``, else in the cache folder.
    """
    chosen = os.environ.get("JAXCHAR_COMPILED")
    return (Path(chosen) if chosen else cache_folder() / "compiled") / kind_of_processor()


def folders_for_compiled() -> list[Path]:
    """Return every folder that may hold compiled programs, the preferred one first."""
    folders, temporary = [folder_for_compiled()], temporary_folder()
    if temporary is not None:
        folders.append(temporary / "compiled" / kind_of_processor())
    return list(dict.fromkeys(folders))


def enable_compilation_cache() -> None:
    """Let JAX keep compiled programs in our cache folder, unless the user has chosen one.

    For commands, which have a process of their own: it changes JAX's configuration for all of it.
    """
    import jax

    for name, value in _cache_settings().items():
        jax.config.update(name, value)


@contextlib.contextmanager
def compiled_programs_kept() -> Iterator[None]:
    """Do the same until the block ends, in a process that others use as well.

    What they compile afterwards is kept where they have chosen, or nowhere, as before.
    """
    settings = _cache_settings()
    if not settings:
        yield
        return
    from jax._src.config import config_states  # public settings hold for a whole process
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    with contextlib.ExitStack() as chosen:
        chosen.callback(reset_cache)  # JAX would go on with the folder that it has opened
        for name, value in settings.items():
            chosen.enter_context(config_states[name](value))
        yield


def _cache_settings() -> dict[str, Any]:
    """Return the settings with which JAX keeps compiled programs; none where the user has chosen a folder.

    What XLA compiles depends on the processor and on how many cores it may use, which JAX's own key does
    not tell apart; so each kind of machine has a folder of its own.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return {}
    folders = (folder / f"{num_cores()}-cores" for folder in folders_for_compiled())
    folder = next(filter(is_writable, folders), None)
    if folder is None:
        return {}
    return {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.0}

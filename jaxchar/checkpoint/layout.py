"""Where the checkpoints of a run lie: one folder a step, ``runs/mine/checkpoints/2000``.

It imports no JAX, so a command can look for runs before JAX is loaded.
"""

from pathlib import Path

from jaxchar.errors import JaxcharError, quoted_path, reason_of
from jaxchar.files import check_not_url, check_storable

FOLDER = "checkpoints"


def is_step(name: str) -> bool:
    """Whether a folder's name is a step: a decimal number without leading zeros."""
    return name.isascii() and name.isdecimal() and str(int(name[:20])) == name


def steps_in(folder: Path) -> list[int]:
    """Return the steps that a checkpoint folder has a folder for, newest first, whole or damaged."""
    if not folder.is_dir():
        return []
    folders = (path for path in folder.iterdir() if path.is_dir())
    return sorted((int(path.name) for path in folders if is_step(path.name)), reverse=True)


def checkpoints_of(run_dir: Path) -> list[Path]:
    """Return the checkpoints of a run, newest first, whole or damaged."""
    return [run_dir.resolve() / FOLDER / str(step) for step in steps_in(run_dir / FOLDER)]


def resolved(path: str | Path) -> Path:
    """Return an absolute path without links, one that Orbax and TensorStore can use.

    Raises:
        JaxcharError: they cannot use it.
    """
    check_not_url(path, "the path")
    try:
        absolute = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise JaxcharError(f"the path {quoted_path(path)} cannot be used: {reason_of(error)}") from error
    check_storable(absolute)
    return absolute

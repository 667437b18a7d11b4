"""The error for a checkpoint that is not what was saved, and how its message is made."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxchar.errors import JaxcharError

MOST_REASON_CHARS = 300  # of another library's message that is repeated


class Damaged(JaxcharError):
    """A checkpoint is not what was saved."""


@contextmanager
def damage_named(checkpoint: Path) -> Iterator[None]:
    """Turn any error in reading a checkpoint into a :class:`Damaged` of one line that names it."""
    try:
        yield
    except JaxcharError as error:
        raise Damaged(f"checkpoint {str(checkpoint)!r} is damaged: {error}") from error
    except Exception as error:  # Orbax and TensorStore raise many kinds for the same damage
        raise Damaged(f"checkpoint {str(checkpoint)!r} is damaged: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, shortened; its type where the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0][:MOST_REASON_CHARS]


def check_inside(checkpoint: Path, *paths: Path) -> None:
    """Raise Damaged where a symbolic link leads a path out of its checkpoint.

    Raises:
        Damaged: it does.
        OSError: nothing exists there.
    """
    root = checkpoint.resolve()
    for path in paths:
        if not path.resolve(strict=True).is_relative_to(root):
            raise Damaged(f"{path.name} lies outside of it, at {str(path.resolve())!r}")

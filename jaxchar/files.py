"""Files: written whole or not at all; and checks of the paths that a user gives."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxchar.errors import JaxcharError

# As typed; and as Path leaves it, which makes one slash of two.
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(::?//|:/(?!/))")
LOCAL_URL = re.compile(r"file:/+(?=/)|file:(?=/)")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file; it takes the place of ``path`` in one move when the block ends.

    Where the block or the move fails, the temporary file is deleted, and what ``path`` held stays.

    Args:
        path: the file, in a folder that exists when the temporary file is written.

    Raises:
        OSError: the temporary file cannot take its place.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")  # on the same file system
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


# ---- paths ---------------------------------------------------------------------------------------


def check_not_url(path: str | Path, name: str) -> None:
    """Check that a path is no URL, which no file system has.

    Args:
        path: as it was given.
        name: of the argument, for the message.

    Raises:
        JaxcharError: it is one.
    """
    text = str(path)
    if URL.match(text):
        remedy = "give the path of a folder on a file system; cloud storage must be mounted as one first"
        if LOCAL_URL.match(text):
            remedy = f"give the path without 'file://': {LOCAL_URL.sub('', text)!r}"
        raise JaxcharError(f"{name} {text!r} is an address, but runs are kept in folders; {remedy}")


def check_storable(path: Path) -> None:
    """Check that the storage library writes to the path that it is given.

    Args:
        path: absolute.

    Raises:
        JaxcharError: it would write to another one.
    """
    if "\\" in str(path):
        raise JaxcharError(
            f"the path {str(path)!r} has a backslash, which the storage library takes for the end of a "
            "folder's name; give a path without one"
        )
    if "gs:" in path.parts:
        raise JaxcharError(
            f"the path {str(path)!r} has a folder 'gs:', which the storage library takes for an address in "
            "the cloud; rename the folder"
        )

"""Files: written whole or not at all, and paths that cannot be used as they are typed."""

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


def refuse_urls(path: str | Path, name: str) -> None:
    """Raise a JaxcharError where a path names a place that no file system has.

    Args:
        path: as it was given.
        name: what the path is, for the message.
    """
    text = str(path)
    if URL.match(text):
        remedy = "give the path of a folder on a file system; cloud storage must be mounted as one first"
        if LOCAL_URL.match(text):
            remedy = f"give the path without 'file://': {LOCAL_URL.sub('', text)!r}"
        raise JaxcharError(f"{name} {text!r} is an address, but runs are kept in folders; {remedy}")


def refuse_rewritten(path: Path) -> None:
    """Raise a JaxcharError where the storage library would write to another place than is named.

    Args:
        path: absolute.
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

"""HDF5 files of any origin: arrays and attributes, read only where they are plain and inside the file."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxchar.errors import JaxcharError, quoted

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_ATTRIBUTE_BYTES = 1 << 24
MOST_MEMBERS = 10_000  # of a group


def h5py_library() -> Any:
    """Return h5py.

    Raises:
        JaxcharError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise JaxcharError(
            "files of Keras need h5py, which is not installed; install it: pip install 'jaxchar[keras]'"
        ) from error
    return h5py


@contextmanager
def opened(data: bytes) -> Iterator["Hdf5Group"]:
    """Give the root group of a file's bytes."""
    library = h5py_library()
    with library.File(io.BytesIO(data), "r") as file:
        yield Hdf5Group(file, len(data), library)


class Hdf5Group:
    """A group of an HDF5 file."""

    def __init__(self, group: Any, num_bytes: int, library: Any) -> None:
        """Wrap a group.

        Args:
            group: h5py's.
            num_bytes: of the file, which bounds what an array may claim.
            library: h5py.
        """
        self._group, self._num_bytes, self._library = group, num_bytes, library

    def names(self) -> list[str]:
        """Return the names of the members.

        Raises:
            JaxcharError: there are more than any model has.
        """
        if len(self._group) > MOST_MEMBERS:
            raise JaxcharError(f"it has a group of {len(self._group):,} members, more than any model has")
        return list(self._group)

    def has(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return name in self._group

    def group(self, path: str) -> "Hdf5Group":
        """Return a group inside.

        Raises:
            JaxcharError: there is none.
        """
        member = self._member(path)
        if not isinstance(member, self._library.Group):
            raise JaxcharError(f"{quoted(path)} is no group of the file")
        return Hdf5Group(member, self._num_bytes, self._library)

    def array(self, path: str) -> np.ndarray:
        """Return an array inside.

        Raises:
            JaxcharError: there is none, or it is more than floating-point numbers that lie in this file.
        """
        member = self._member(path)
        if not isinstance(member, self._library.Dataset):
            raise JaxcharError(f"{quoted(path)} is no array of the file")
        if member.external or member.is_virtual:
            raise JaxcharError(f"the array {quoted(path)} lies in another file; only one file is read")
        if member.dtype.kind != "f":
            raise JaxcharError(f"the array {quoted(path)} is of type {member.dtype}, expected floating-point numbers")
        if member.nbytes > self._num_bytes:
            raise JaxcharError(
                f"the array {quoted(path)} claims {member.nbytes:,} bytes, but the file has {self._num_bytes:,} "
                "(packed arrays are not read)"
            )
        return np.asarray(member[()])

    def text(self, name: str) -> str | None:
        """Return an attribute that is a text; None: there is none of this name."""
        value = self._attribute(name)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        return _text(value, name)

    def texts(self, name: str) -> list[str] | None:
        """Return an attribute that is a list of texts; Keras cuts a long one into ``name0``, ``name1``, ..."""
        whole = self._attribute(name)
        if whole is not None:
            return [_text(value, name) for value in np.atleast_1d(whole).reshape(-1)]
        parts: list[str] = []
        for number in range(MOST_MEMBERS):
            part = self._attribute(f"{name}{number}")
            if part is None:
                break
            parts += [_text(value, name) for value in np.atleast_1d(part).reshape(-1)]
        return parts or None

    def _attribute(self, name: str) -> Any:
        attributes = self._group.attrs
        if name not in attributes:
            return None
        described = attributes.get_id(name)
        if math.prod(described.shape or ()) * described.dtype.itemsize > MOST_ATTRIBUTE_BYTES:
            raise JaxcharError(f"its attribute {quoted(name)} is larger than that of any model")
        return attributes[name]

    def _member(self, path: str) -> Any:
        """Return a member, to which a chain of plain links leads."""
        member = self._group
        for part in filter(None, path.split("/")):
            if not isinstance(member, self._library.Group) or part not in member:
                raise JaxcharError(f"the file has no {quoted(path)}")
            if not isinstance(member.get(part, getlink=True), self._library.HardLink):
                raise JaxcharError(f"{quoted(path)} is a link to elsewhere; only what lies in the file is read")
            member = member[part]
        return member


def _text(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return str(value)
    raise JaxcharError(f"its attribute {quoted(name)} holds {quoted(value)}, expected a text")

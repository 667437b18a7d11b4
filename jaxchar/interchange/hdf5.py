"""HDF5 files of any origin as plain arrays and texts, read by a process of their own."""

import json
import math
import struct
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np

from jaxchar.errors import JaxcharError, quoted
from jaxchar.interchange import hdf5_child

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SECONDS = 300  # that reading may take; the process has fewer of the processor


def h5py_library() -> Any:
    """Return h5py.

    Raises:
        JaxcharError: it is not installed.
    """
    require_h5py()
    import h5py

    return h5py


def require_h5py() -> None:
    """Raise a JaxcharError where h5py is not installed."""
    if find_spec("h5py") is None:
        raise JaxcharError(
            "files of Keras need h5py, which is not installed; install it: pip install 'jaxchar[keras]'"
        )


def read_hdf5(data: bytes) -> "Hdf5Group":
    """Return the root group of a file's bytes.

    The file is read by another process, which alone ends where a damaged file crashes the HDF5 library.

    Raises:
        JaxcharError: the file is damaged, or h5py is not installed.
    """
    require_h5py()
    output = _output_of_child(data)
    (length,) = struct.unpack("<Q", output[:8])
    return Hdf5Group(json.loads(output[8 : 8 + length]), memoryview(output)[8 + length :])


def _output_of_child(data: bytes) -> bytes:
    """Return what the reading process finds in a file's bytes."""
    command = [sys.executable, "-P", hdf5_child.__file__]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise JaxcharError("the HDF5 file is damaged: reading it does not end") from error
    except OSError as error:
        raise JaxcharError(f"the process that reads HDF5 files cannot be started: {error}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        said = lines[-1][:250] if done.returncode > 0 and lines else "it crashes the HDF5 library"
        raise JaxcharError(f"the HDF5 file is damaged ({said})")
    return done.stdout


class Hdf5Group:
    """A group of an HDF5 file."""

    def __init__(self, record: dict[str, Any], contents: memoryview, path: str = "") -> None:
        """Wrap what the reading process has found.

        Args:
            record: see :mod:`jaxchar.interchange.hdf5_child`.
            contents: the bytes of all arrays.
            path: of the group in the file.
        """
        self._record, self._contents, self._path = record, contents, path

    def _inside(self, path: str) -> str:
        return "/".join(filter(None, [self._path, *path.split("/")]))

    def names(self) -> list[str]:
        """Return the names of the groups inside."""
        start = f"{self._path}/" if self._path else ""
        inside = (path.removeprefix(start) for path in self._record["groups"] if path.startswith(start))
        return [name for name in inside if name and "/" not in name]

    def has(self, path: str) -> bool:
        """Whether there is a group or an array of this name, be it one that is refused when asked for."""
        whole = self._inside(path)
        return any(whole in self._record[kind] for kind in ("groups", "arrays", "refused"))

    def group(self, path: str) -> "Hdf5Group":
        """Return a group inside.

        Raises:
            JaxcharError: there is none.
        """
        whole = self._inside(path)
        if whole not in self._record["groups"]:
            raise self._missing(whole)
        return Hdf5Group(self._record, self._contents, whole)

    def array(self, path: str) -> np.ndarray:
        """Return an array inside.

        Raises:
            JaxcharError: there is none, or it is more than floating-point numbers that lie in this file.
        """
        whole = self._inside(path)
        if whole not in self._record["arrays"]:
            raise self._missing(whole)
        dtype, shape, offset = self._record["arrays"][whole]
        return np.frombuffer(self._contents, dtype, math.prod(shape), offset).reshape(shape)

    def text(self, name: str) -> str | None:
        """Return an attribute that is a text; None: there is none of this name."""
        found = self.texts(name)
        return None if found is None else "".join(found)

    def texts(self, name: str) -> list[str] | None:
        """Return an attribute that is a list of texts; Keras cuts a long one into ``name0``, ``name1``."""
        attributes = self._record["groups"][self._path]
        if f"{self._path}@{name}" in self._record["refused"]:
            raise JaxcharError(f"its attribute {quoted(name)} is larger than that of any model")
        if name in attributes:
            return attributes[name]
        parts, number = [], 0
        while f"{name}{number}" in attributes:
            parts += attributes[f"{name}{number}"]
            number += 1
        return parts if number else None

    def _missing(self, path: str) -> JaxcharError:
        parts = path.split("/")
        for end in range(len(parts), 0, -1):
            part = "/".join(parts[:end])
            if part in self._record["refused"]:
                return JaxcharError(f"{quoted(part)} {self._record['refused'][part]}")
        return JaxcharError(f"the file has no {quoted(path)}")

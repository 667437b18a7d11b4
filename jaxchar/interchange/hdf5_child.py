"""Read an HDF5 file in a process of its own, which a damaged file may crash or hang.

The bytes of the file are on standard input. On standard output are the length of a JSON object in 8 bytes,
the object, and the bytes of all arrays. Nothing of jaxchar is imported here, so that the process starts
quickly.

    {"groups": {path: {attribute: [texts]}}, "arrays": {path: [dtype, shape, offset]}, "refused": {path: why}}
"""

import io
import json
import math
import resource
import struct
import sys
from typing import Any

import numpy as np

MOST_MEMBERS, MOST_DEPTH = 20_000, 12
MOST_ATTRIBUTE_BYTES = 1 << 24  # of one, and of all together
SECONDS = 60  # of the processor
SPARE_BYTES = 4 << 30  # of memory, beside some copies of the file
SKIPPED = ("optimizer_weights", "optimizer")  # of training
# As they are called, or cut into pieces with a number.
ATTRIBUTES = ("model_config", "keras_version", "layer_names", "weight_names")


class Reader:
    """What was found in a file so far."""

    def __init__(self, library: Any, num_bytes: int) -> None:
        """Begin with nothing.

        Args:
            library: h5py.
            num_bytes: of the file, which bounds what its arrays may claim together.
        """
        self.library, self.num_bytes = library, num_bytes
        self.groups: dict[str, dict[str, list[str]]] = {}
        self.arrays: dict[str, tuple[str, list[int], int]] = {}
        self.refused: dict[str, str] = {}
        self.contents: list[bytes] = []
        self.offset = self.text_chars = 0

    def walk(self, group: Any, path: str = "", depth: int = 0) -> None:
        """Note down a group, and all that lies in it behind plain links."""
        if depth > MOST_DEPTH or len(self.groups) + len(self.arrays) + len(group) > MOST_MEMBERS:
            raise ValueError("it has more groups than any model")
        self.groups[path] = self._attributes(group, path)
        for name in group:
            inside = f"{path}/{name}" if path else name
            if not path and name in SKIPPED:
                continue
            if not isinstance(group.get(name, getlink=True), self.library.HardLink):
                self.refused[inside] = "is a link to elsewhere; only what lies in the file is read"
                continue
            member = group[name]
            if isinstance(member, self.library.Group):
                self.walk(member, inside, depth + 1)
            elif isinstance(member, self.library.Dataset):
                self._array(member, inside)

    def _array(self, member: Any, path: str) -> None:
        num_bytes = math.prod(member.shape or ()) * member.dtype.itemsize
        if member.external or member.is_virtual:
            self.refused[path] = "lies in another file; only one file is read"
        elif member.dtype.kind != "f":
            self.refused[path] = f"is of type {member.dtype}, expected floating-point numbers"
        elif self.offset + num_bytes > self.num_bytes:
            self.refused[path] = (
                f"claims {num_bytes:,} bytes of a file of {self.num_bytes:,}; save it unpacked"
            )
        else:
            array = np.ascontiguousarray(member[()], member.dtype.newbyteorder("<"))
            self.arrays[path] = (array.dtype.str, list(array.shape), self.offset)
            self.contents.append(array.tobytes())
            self.offset += array.nbytes

    def _attributes(self, group: Any, path: str) -> dict[str, list[str]]:
        found = {}
        for name in group.attrs:
            if name.rstrip("0123456789") not in ATTRIBUTES:
                continue
            described = group.attrs.get_id(name)
            if math.prod(described.shape or ()) * described.dtype.itemsize > MOST_ATTRIBUTE_BYTES:
                self.refused[f"{path}@{name}"] = "is larger than that of any model"
                continue
            values = np.atleast_1d(np.asarray(group.attrs[name], object)).reshape(-1)
            found[name] = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
            self.text_chars += sum(map(len, found[name]))
            if self.text_chars > MOST_ATTRIBUTE_BYTES:
                raise ValueError("it has more texts than any model")
        return found


def output_for(data: bytes) -> bytes:
    """Return what is written on standard output for a file's bytes."""
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        reader = Reader(h5py, len(data))
        reader.walk(file)
    record = {"groups": reader.groups, "arrays": reader.arrays, "refused": reader.refused}
    header = json.dumps(record).encode()
    return struct.pack("<Q", len(header)) + header + b"".join(reader.contents)


def main() -> None:
    """Read what is on standard input."""
    data = sys.stdin.buffer.read()
    most = SPARE_BYTES + 8 * len(data)
    for limit, value in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        if hard == resource.RLIM_INFINITY or value <= hard:
            resource.setrlimit(limit, (value, hard))
    try:
        output = output_for(data)
    except Exception as error:  # h5py raises many kinds
        said = (str(error).splitlines() or [""])[0][:200]
        print(f"{type(error).__name__}: {said}", file=sys.stderr)
        raise SystemExit(2) from None
    sys.stdout.buffer.write(output)


if __name__ == "__main__":
    main()

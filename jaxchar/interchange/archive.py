"""Zip files of any origin: their members, read into memory only as far as the file's own size justifies."""

import io
import zipfile
from contextlib import suppress

from jaxchar.errors import JaxcharError, quoted

SIGNATURE = b"PK\x03\x04"
MOST_GROWTH = 50  # times that members may be larger than the file: a description in JSON packs well
ALWAYS_ALLOWED = 1 << 24  # bytes of a member, however small the file is


class Archive:
    """The members of a zip file."""

    def __init__(self, data: bytes) -> None:
        """Read the list of members.

        Raises:
            JaxcharError: it is no zip file, or claims members that are larger than it can hold.
        """
        try:
            self._file = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            raise JaxcharError(f"it is no whole zip file: {error}") from error
        claimed = sum(member.file_size for member in self._file.infolist())
        if claimed > MOST_GROWTH * len(data) + ALWAYS_ALLOWED:
            raise JaxcharError(f"it would unpack to {claimed:,} bytes, from {len(data):,}; no model does")

    @property
    def names(self) -> set[str]:
        """The names of the members; nothing is written under them."""
        return set(self._file.namelist())

    def read(self, name: str) -> bytes:
        """Return a member.

        Raises:
            JaxcharError: there is none, or it is larger than it claims.
        """
        with suppress(KeyError):
            size = self._file.getinfo(name).file_size
            with self._file.open(name) as member:
                content = member.read(size + 1)
            if len(content) != size:
                raise JaxcharError(f"its member {quoted(name)} is not of the size that it claims")
            return content
        raise JaxcharError(f"it has no member {quoted(name)}")

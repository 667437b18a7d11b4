"""Where text comes from: named corpora, files, folders, globs, standard input.

The one room that touches the network or the file system for text. A named corpus is fetched once,
verified by its SHA-256 and kept in a cache folder: ``JAXCHAR_CACHE``, or the user's own.
"""

import contextlib
import glob
import hashlib
import http.client
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxchar.cache import cache_folder
from jaxchar.config import CorpusConfig
from jaxchar.errors import JaxcharError

FETCH_TIMEOUT_SECONDS = 20
CHUNK = 1 << 20  # characters replaced at a time: bounds the memory that the replacements take
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RemoteCorpus(NamedTuple):
    """A public text: where it lies, and what it must be."""

    file_name: str
    address: str
    num_bytes: int
    sha256: str


REMOTE_CORPORA = {
    "shakespeare": RemoteCorpus(
        "tinyshakespeare.txt",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "nietzsche": RemoteCorpus(
        "nietzsche.txt",
        "https://s3.amazonaws.com/text-datasets/nietzsche.txt",
        600_901,
        "23cf69874ab69d3d256099ab530ea4be24d47d9675b673bcc67cbcd6298ec647",
    ),
}


class Corpus(NamedTuple):
    """A text to train on, after its reduction to an alphabet."""

    source: tuple[str, ...]  # what it was loaded as: a name, or paths ("auto" is resolved)
    text: str
    sha256: str  # of the bytes read, before any reduction
    notice: str = ""  # one line that the user should see, or nothing


class Split(NamedTuple):
    """Character positions [start, stop) of one part of the text."""

    start: int
    stop: int


def load_corpus(config: CorpusConfig) -> Corpus:
    """Read the text that a configuration names, and reduce it to the alphabet asked for.

    Raises:
        JaxcharError: it cannot be had, is empty, or is not UTF-8.
    """
    source, parts, notice = _open_sources(config.sources)
    digest = hashlib.sha256()
    text = reduce_alphabet(_read(parts, digest), config)[: config.max_chars]
    if not text:
        raise JaxcharError(f"the corpus {' '.join(source)!r} is empty; give a text with characters in it")
    return Corpus(source, text, digest.hexdigest(), notice)


def reduce_alphabet(text: str, config: CorpusConfig) -> str:
    """Lower-case the text and replace what is not to be kept, as the configuration says."""
    if config.lowercase:
        text = text.lower()
    if config.keep is not None:
        other = re.compile(f"[^{re.escape(config.keep)}]" if config.keep else "(?s:.)")
        pieces = (text[start : start + CHUNK] for start in range(0, len(text), CHUNK))
        text = "".join(other.sub(lambda _: config.fill, piece) for piece in pieces)
    return text


def split_positions(num_chars: int, config: CorpusConfig) -> dict[str, Split]:
    """Cut ``num_chars`` characters into contiguous train, validation and test parts, in that order."""
    train_stop = num_chars - round(num_chars * (config.val_fraction + config.test_fraction))
    val_stop = num_chars - round(num_chars * config.test_fraction)
    return {
        "train": Split(0, train_stop),
        "validation": Split(train_stop, val_stop),
        "test": Split(val_stop, num_chars),
    }


# ---- sources -------------------------------------------------------------------------------------

Parts = Iterator[tuple[str, bytes]]  # (name for messages, content) of every file, in order


def _open_sources(sources: tuple[str, ...]) -> tuple[tuple[str, ...], Parts, str]:
    """Return what the sources resolve to, their contents, and a notice for the user."""
    if sources == ("auto",):
        try:
            return ("shakespeare",), iter([("shakespeare", _remote_content("shakespeare"))]), ""
        except JaxcharError as error:
            reason = str(error).partition("; ")[0]
            notice = f"Training on 'python', the interpreter's own documentation, instead: {reason}."
            return ("python",), iter([("python", _python_documentation())]), notice
    if len(sources) == 1 and sources[0] in REMOTE_CORPORA:
        return sources, iter([(sources[0], _remote_content(sources[0]))]), ""
    if sources == ("python",):
        return sources, iter([("python", _python_documentation())]), ""
    if sources == ("-",):
        if sys.stdin is None or sys.stdin.isatty():
            raise JaxcharError("corpus '-' is standard input, but nothing is piped into it; pipe a text")
        return sources, iter([("standard input", sys.stdin.buffer.read())]), ""
    files = [file for source in sources for file in _files_of(source)]
    return sources, ((str(file), _file_content(file)) for file in files), ""


def _read(parts: Parts, digest: "hashlib._Hash") -> str:
    """Return the text of all parts, one after the other; take their bytes into the digest."""
    texts = []
    for name, content in parts:
        digest.update(content)
        texts.append(_decoded(name, content))
    return "".join(texts)


def _python_documentation() -> bytes:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def _files_of(source: str) -> list[Path]:
    """Return the files that a path, a folder or a glob stands for, in sorted order."""
    try:
        return _files_at(source, Path(source).expanduser())
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, JaxcharError):
            raise
        raise JaxcharError(f"the corpus path {source!r} cannot be used: {error}") from error


def _files_at(source: str, path: Path) -> list[Path]:
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        files = sorted(f for f in inside if not any(p.startswith(".") for p in f.relative_to(path).parts))
        if not files:
            raise JaxcharError(f"the corpus folder {source!r} holds no files; put text files into it")
        return files
    if path.exists():
        return [path]
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207, Path.glob takes no absolute pattern
    files = sorted(Path(match) for match in matches if Path(match).is_file())
    if not files:
        names = ", ".join(["auto", *REMOTE_CORPORA, "python"])
        raise JaxcharError(
            f"no corpus {source!r}: expected files, folders and globs, or '-' for standard input, or one of "
            f"the names {names}, by itself; check the path"
        )
    return files


def _file_content(file: Path) -> bytes:
    try:
        if file.is_char_device() or file.is_block_device():  # /dev/zero has no end
            raise JaxcharError(f"the corpus {str(file)!r} is a device; give a file, or - for standard input")
        return file.read_bytes()
    except OSError as error:
        raise JaxcharError(f"cannot read the corpus file {str(file)!r}: {error.strerror}") from error


def _decoded(name: str, content: bytes) -> str:
    """Decode UTF-8, less a byte-order mark; line endings stay as they are."""
    try:
        return content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise JaxcharError(
            f"{name!r} is not UTF-8: byte 0x{error.object[error.start]:02x} at position "
            f"{error.start + len(content) - len(error.object):,}; "
            "convert it first, for instance with `iconv -f LATIN1 -t UTF-8`"
        ) from error


# ---- named corpora -------------------------------------------------------------------------------


def _remote_content(name: str) -> bytes:
    """Return a named corpus from the cache, fetching it first if the cache has no sound copy."""
    remote = REMOTE_CORPORA[name]
    file = cache_folder() / remote.file_name
    with contextlib.suppress(OSError, ValueError):
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() == remote.sha256:
            return content
    content = _fetched(name, remote, file)
    _keep(file, content)
    return content


def _fetched(name: str, remote: RemoteCorpus, file: Path) -> bytes:
    remedy = f"put the file at {file} by hand, or choose --corpus python, which needs no network"
    try:
        with urllib.request.urlopen(remote.address, timeout=FETCH_TIMEOUT_SECONDS) as response:
            content = response.read(remote.num_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)).splitlines()
        raise JaxcharError(
            f"corpus {name!r} cannot be fetched from {remote.address} ({' '.join(reason)}); {remedy}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != remote.sha256:
        raise JaxcharError(
            f"corpus {name!r} from {remote.address} has SHA-256 {found[:16]}..., expected "
            f"{remote.sha256[:16]}...; it was not used: {remedy}"
        )
    return content


def _keep(file: Path, content: bytes) -> None:
    """Write into the cache whole or not at all; a cache that cannot be written is done without."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()

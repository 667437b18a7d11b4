"""Where text comes from: named corpora, files, folders, globs, standard input.

Only this module reads text from the network or the file system. A named corpus is downloaded once,
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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxchar.cache import cache_folder
from jaxchar.config import CorpusConfig
from jaxchar.data.text_file import NotTextError, decoded, unpacked
from jaxchar.errors import JaxcharError
from jaxchar.files import written_whole
from jaxchar.text import check_not_text, content_in_memory, is_in_memory

FETCH_TIMEOUT_SECONDS = 20
CHUNK = 1 << 20  # characters replaced at a time: bounds the memory that the replacements take
MOST_NAMES = 5  # of files that a notice lists
STANDARD_INPUT = ("-",)


class RemoteCorpus(NamedTuple):
    """A public text: where it is, and how to recognise it."""

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

    source: tuple[str, ...]  # how it was named: a name ("auto" is resolved), or absolute paths
    text: str
    sha256: str  # of the bytes read, unpacked, before any reduction, with line breaks put between files
    notice: str = ""  # lines for the user, or nothing
    encoding: str = "utf-8"  # of the files; several are separated by ", "


class Split(NamedTuple):
    """Character positions [start, stop) of one part of the text."""

    start: int
    stop: int


class MissingCorpusError(JaxcharError):
    """There is no such file."""


def load_corpus(config: CorpusConfig) -> Corpus:
    """Read the text that a configuration names, and reduce it to the alphabet asked for.

    Raises:
        JaxcharError: it cannot be read, is empty, or has an encoding that was not given.
    """
    return reduce_corpus(read_corpus(config), config)


def read_corpus(config: CorpusConfig, known_sha256: str | None = None) -> Corpus:
    """Read the text that a configuration names, whole and with all its characters.

    Args:
        config: which text.
        known_sha256: of the text that a run was trained on. Older versions put no line breaks between
            files; files that have this digest without line breaks are read without them.

    Raises:
        MissingCorpusError: there is no such file.
        JaxcharError: it cannot be read, or has an encoding that was not given.
    """
    source, parts, notice = _open_sources(config.sources)
    joined = _Joined()
    left_out: dict[str, str] = {}  # what each file is
    remarks: dict[str, list[str]] = {}  # the files of each
    searched = False
    for part in parts:
        searched |= part.searched
        try:
            content = unpacked(part.name, part.content)
            text, encoding, remark = decoded(part.name, content, config.encoding)
        except NotTextError as error:
            if not part.searched:
                raise
            left_out[part.name] = error.kind
            continue
        joined.add(content, text, encoding)
        if remark:
            remarks.setdefault(remark, []).append(repr(part.name))
    notices = [notice, *(f"{remark}: {_listed(names)}." for remark, names in remarks.items())]
    if searched:
        notices.append(_taken(source, len(joined.encodings), left_out))
    sha256, text = joined.result(known_sha256)
    encodings = ", ".join(dict.fromkeys(joined.encodings))
    return Corpus(source, text, sha256, "\n".join(filter(None, notices)), encodings)


def reduce_corpus(corpus: Corpus, config: CorpusConfig) -> Corpus:
    """Return a text cut and reduced to the alphabet that the configuration asks for.

    Raises:
        JaxcharError: nothing is left of it.
    """
    text = reduce_alphabet(corpus.text, config)[: config.max_chars]
    if not text:
        raise JaxcharError(
            f"the corpus {' '.join(corpus.source)!r} is empty; give a text with characters in it"
        )
    return corpus._replace(text=text, notice="\n".join(filter(None, (corpus.notice, _line_ends(text)))))


def reduce_alphabet(text: str, config: CorpusConfig) -> str:
    """Lower-case the text and replace the characters that the configuration does not keep."""
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


class Part(NamedTuple):
    """A file, or other content that is read like one."""

    name: str  # for messages
    content: bytes
    searched: bool = False  # found in a folder or by a glob, so left out if it is not text


Parts = Iterable[Part]


def _open_sources(sources: tuple[str, ...]) -> tuple[tuple[str, ...], Parts, str]:
    """Return what the sources resolve to, their contents, and a notice for the user."""
    if any(is_in_memory(source) for source in sources):
        return tuple(map(str, sources)), [Part(str(s), content_in_memory(s)) for s in sources], ""
    if sources == ("auto",):
        try:
            return ("shakespeare",), [Part("shakespeare", _remote_content("shakespeare"))], ""
        except JaxcharError as error:
            reason = str(error).partition("; ")[0]
            notice = f"Training on 'python', the interpreter's own documentation, instead: {reason}."
            return ("python",), [Part("python", _python_documentation())], notice
    if len(sources) == 1 and sources[0] in REMOTE_CORPORA:
        return sources, [Part(sources[0], _remote_content(sources[0]))], ""
    if sources == ("python",):
        return sources, [Part("python", _python_documentation())], ""
    if sources == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise JaxcharError("corpus '-' is standard input, but nothing is piped into it; pipe a text")
        return sources, [Part("standard input", sys.stdin.buffer.read())], ""
    found = [_files_of(source) for source in sources]
    parts = (Part(str(file), _file_content(file), files.searched) for files in found for file in files.paths)
    return tuple(files.source for files in found), parts, ""


class _Joined:
    """The texts of several files, each starting on its own line, and their digest."""

    def __init__(self) -> None:
        self.encodings: list[str] = []
        self._texts: list[str] = []
        self._broken: set[int] = set()  # texts that get a line break before them
        self._digest = hashlib.sha256()
        self._glued: hashlib._Hash | None = None  # of the bytes without these line breaks

    def add(self, content: bytes, text: str, encoding: str) -> None:
        """Add a file's bytes and text, after a line break if the text so far does not end with one."""
        if text and self._texts and not self._texts[-1].endswith(("\n", "\r")):
            self._glued = self._glued or self._digest.copy()
            self._digest.update(b"\n")
            self._broken.add(len(self._texts))
        self._digest.update(content)
        if self._glued is not None:
            self._glued.update(content)
        self.encodings.append(encoding)
        if text:
            self._texts.append(text)

    def result(self, known_sha256: str | None) -> tuple[str, str]:
        """Return digest and text; without added line breaks if that is the known digest."""
        if self._glued is not None and self._glued.hexdigest() == known_sha256:
            return known_sha256, "".join(self._texts)
        texts = (f"\n{text}" if i in self._broken else text for i, text in enumerate(self._texts))
        return self._digest.hexdigest(), "".join(texts)


def _taken(source: Sequence[str], num_read: int, left_out: dict[str, str]) -> str:
    """Return how many files were taken, and which were left out because they are not text."""
    listed = f"; left out {len(left_out)}: " if left_out else ""
    listed += _listed([f"{os.path.basename(name)} ({kind})" for name, kind in left_out.items()])  # noqa: PTH119
    if not num_read:
        raise JaxcharError(
            f"the corpus {' '.join(source)!r} contains no text files{listed}; put text files into it"
        )
    return f"Took {num_read} {'file' if num_read == 1 else 'files'}{listed}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _line_ends(text: str) -> str:
    """Return a notice about carriage returns, or nothing."""
    returns = text.count("\r")
    if not returns:
        return ""
    windows = text.count("\r\n")
    others = text.count("\n") - windows
    kinds = ((windows, "Windows (\\r\\n)"), (returns - windows, "old Mac (\\r)"), (others, "Unix (\\n)"))
    counts = ", ".join(f"{count:,} {kind}" for count, kind in kinds if count)
    return (
        f"The text has line ends of {counts}; \\r is a separate character to the model. To remove it: "
        "tr -d '\\r' < old.txt > new.txt"
    )


def _python_documentation() -> bytes:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


class _Files(NamedTuple):
    """What a path, a folder or a glob stands for."""

    source: str  # the same, absolute
    paths: list[Path]  # in sorted order
    searched: bool  # whether they were found in a folder or by a glob


def _files_of(source: str) -> _Files:
    try:
        check_not_text(source)
        return _files_at(source, Path(source).expanduser())
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, JaxcharError):
            raise
        raise JaxcharError(f"the corpus path {source!r} cannot be used: {error}") from error


def _files_at(source: str, path: Path) -> _Files:
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        files = sorted(f for f in inside if not any(p.startswith(".") for p in f.relative_to(path).parts))
        if not files:
            raise JaxcharError(f"the corpus folder {source!r} contains no files; put text files into it")
        return _Files(_absolute(path), files, searched=True)
    if path.exists():
        return _Files(_absolute(path), [path], searched=False)
    files = sorted(Path(match) for match in set(_matches(path)) if Path(match).is_file())
    if not files:
        names = ", ".join(["auto", *REMOTE_CORPORA, "python"])
        raise MissingCorpusError(
            f"no corpus {source!r}: expected files, folders and globs, or '-' for standard input, or one of "
            f"the names {names}, by itself; check the path"
        )
    pattern = path if path.is_absolute() else Path(glob.escape(str(Path.cwd()))) / path
    return _Files(str(pattern), files, searched=True)


def _absolute(path: Path) -> str:
    """Return an absolute path."""
    return str(path.resolve() if ".." in path.parts else path.absolute())


def _matches(pattern: Path) -> Iterator[str]:
    """Yield what a glob matches; ``**`` enters each folder once, even if several links lead to it."""
    parts = pattern.parts
    if "**" not in parts:
        yield from glob.glob(str(pattern))  # noqa: PTH207, Path.glob takes no absolute pattern
        return
    position = parts.index("**")
    below = Path(*(parts[position + 1 :] or ("*",)))
    for root in glob.glob(str(Path(*parts[:position]))):  # noqa: PTH207
        for folder in _folders_below(root):
            yield from _matches(Path(glob.escape(folder)) / below)


def _folders_below(root: str) -> Iterator[str]:
    """Yield a folder and the visible ones below it, each once; a link may lead back up."""
    seen = {os.path.realpath(root)}
    for folder, inside, _ in os.walk(root, followlinks=True):
        yield folder
        unseen = []
        for name in sorted(inside):
            real = os.path.realpath(Path(folder) / name)
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                unseen.append(name)
        inside[:] = unseen


def _file_content(file: Path) -> bytes:
    try:
        if file.is_char_device() or file.is_block_device():  # /dev/zero has no end
            raise JaxcharError(f"the corpus {str(file)!r} is a device; give a file, or - for standard input")
        return file.read_bytes()
    except OSError as error:
        raise JaxcharError(f"cannot read the corpus file {str(file)!r}: {error.strerror}") from error


# ---- named corpora -------------------------------------------------------------------------------


def _remote_content(name: str) -> bytes:
    """Return a named corpus from the cache; download it if the cache has no valid copy."""
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
    remedy = f"put the file at {file} by hand, or choose --corpus=python, which needs no network"
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
    """Write into the cache completely or not at all; ignore a cache that cannot be written."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as temporary:
            temporary.write_bytes(content)

"""The folder of a run, less its checkpoints: settings, metrics, samples, summary, picture."""

import contextlib
import errno
import itertools
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.config import Config
from jaxchar.errors import JaxcharError, quoted_path, reason_of
from jaxchar.files import check_not_url, written_whole
from jaxchar.training.metrics import METRICS, Series, metrics_in

# What the files of a run are called. The logs grow while it lasts; on resuming they are cut back to
# where they stood when the checkpoint was saved, so that nothing is told twice.
CONFIG, SAMPLES, SUMMARY, PICTURE = "config.json", "samples.txt", "summary.json", "loss.png"
LOGS = (METRICS, SAMPLES)


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | Path) -> None:
        """Take a folder, which need not exist yet.

        Raises:
            JaxcharError: the path is a file.
        """
        check_not_url(path, "--run-dir")
        try:
            self.path = Path(path).expanduser()
            is_file = self.path.exists() and not self.path.is_dir()
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise JaxcharError(f"--run-dir {quoted_path(path)} cannot be used: {reason_of(error)}") from error
        if is_file:
            raise JaxcharError(f"--run-dir {str(path)!r} is a file; give a folder, existing or new")
        self.last_error: str | None = None  # why the newest entry of a log is not written yet, if it is not
        self._unwritten = dict.fromkeys(LOGS, b"")

    def holds_run(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / CONFIG).exists()

    def create(self, config: Config) -> None:
        """Make the folder, if it is not there, and write the settings into it.

        Raises:
            JaxcharError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_json(CONFIG, config.to_json())
        except (OSError, ValueError) as error:
            raise JaxcharError(f"cannot write to --run-dir {str(self.path)!r}: {error}") from error

    def check_free(self, instead: str) -> None:
        """Raise a JaxcharError where no new run can begin.

        Args:
            instead: what is to be done where the folder holds a run.
        """
        if self.holds_run() and steps_in(self.path / FOLDER):
            raise JaxcharError(f"{str(self.path)!r} already holds a run; {instead}")
        self.check_not_foreign()

    def check_not_foreign(self) -> None:
        """Raise a JaxcharError if the folder holds things that are not a run's."""
        if self.path.is_dir() and not self.holds_run() and any(not _hidden(p) for p in self.path.iterdir()):
            raise JaxcharError(
                f"--run-dir {str(self.path)!r} is not empty and holds no run; give a new or an empty folder"
            )

    def write_json(self, name: str, record: dict[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        with written_whole(self.path / name) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def has(self, name: str) -> bool:
        """Whether a file of the run is there."""
        return (self.path / name).exists()

    def summary(self) -> dict[str, Any] | None:
        """Return the summary, or None where there is none that can be read."""
        try:
            record = json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def metrics(self) -> dict[str, Series]:
        """Return every figure that was logged, by its name in ``metrics.jsonl``: train_loss, val_loss, ..."""
        return metrics_in(self.path / METRICS)

    def log_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to the metrics."""
        self._log(METRICS, json.dumps(record) + "\n")

    def log_sample(self, title: str, prompt: str, text: str) -> None:
        """Add a sample, its prompt marked off by the title line."""
        self._log(SAMPLES, f"--- {title}, after {prompt!r}\n{text}\n\n")

    def _log(self, name: str, entry: str) -> None:
        """Add an entry to a log, whole or not at all; what a full disk refuses is kept for the next time."""
        self._unwritten[name] += entry.encode()
        self._write_unwritten(name)

    def write_what_is_left(self) -> None:
        """Try once more to write what a full disk has refused."""
        for name in LOGS:
            if self._unwritten[name]:
                self._write_unwritten(name)

    def _write_unwritten(self, name: str) -> None:
        try:
            with (self.path / name).open("ab", buffering=0) as file:
                before = file.tell()
                if file.write(self._unwritten[name]) < len(self._unwritten[name]):
                    file.truncate(before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.last_error = f"{name} could not be written: {error.strerror}"
            return
        self._unwritten[name] = b""
        self.last_error = None

    def log_sizes(self) -> dict[str, int]:
        """Return the size of each log in bytes."""
        files = {name: self.path / name for name in LOGS}
        return {name: file.stat().st_size if file.exists() else 0 for name, file in files.items()}

    def cut_logs(self, sizes: dict[str, int]) -> None:
        """Cut the logs back to sizes that :meth:`log_sizes` returned."""
        for name in LOGS:
            file, size = self.path / name, sizes.get(name, 0)
            if file.exists() and file.stat().st_size > size:
                with file.open("r+b") as opened:
                    opened.truncate(size)

    def set_aside(self, checkpoints: list[Path], label: str) -> Path | None:
        """Move checkpoints and copies of the logs into a folder of their own beside them.

        Returns:
            The folder, or None where there was nothing to move.
        """
        if not checkpoints:
            return None
        aside = next_free(self.path / f"set-aside-{label}")
        aside.mkdir()
        for name in LOGS:
            if (self.path / name).exists():
                (aside / name).write_bytes((self.path / name).read_bytes())
        kept = aside / checkpoints[0].parent.name
        kept.mkdir()
        for checkpoint in checkpoints:
            checkpoint.rename(kept / checkpoint.name)
        return aside


class ReadOnlyFolder(RunFolder):
    """The folder of a run for a process that computes along and leaves the writing to another."""

    def holds_run(self) -> bool:
        """Whether a run has begun here, which only the process that writes has to know."""
        return False

    def create(self, config: Config) -> None:
        """Change nothing; the process that writes does."""

    def check_not_foreign(self) -> None:
        """Change nothing; the process that writes does."""

    def write_json(self, name: str, record: dict[str, Any]) -> None:
        """Change nothing; the process that writes does."""

    def summary(self) -> None:
        """Return nothing: each process sums up for itself."""

    def metrics(self) -> dict[str, Series]:
        """Return nothing: the file is being written."""
        return {}

    def cut_logs(self, sizes: dict[str, int]) -> None:
        """Change nothing; the process that writes does."""

    def set_aside(self, checkpoints: list[Path], label: str) -> None:
        """Change nothing; the process that writes does."""

    def _log(self, name: str, entry: str) -> None:
        """Change nothing; the process that writes does."""


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def make_next_free(path: Path) -> Path:
    """Make and return the folder, or the first of path-2, path-3, ... that does not exist.

    Of several processes that ask at once, each gets a folder of its own.

    Raises:
        JaxcharError: no folder can be made there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for candidate in _numbered(path):
            with contextlib.suppress(FileExistsError):
                candidate.mkdir()
                return candidate
    except OSError as error:
        raise JaxcharError(
            f"cannot make a folder for the run in {str(path.parent)!r}: {error.strerror}; give a --run-dir "
            "that can be written to"
        ) from error
    raise AssertionError  # there is always a number more


def next_free(path: Path) -> Path:
    """Return the path, or the first of path-2, path-3, ... that does not exist."""
    return next(candidate for candidate in _numbered(path) if not candidate.exists())


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


# ---- names ---------------------------------------------------------------------------------------

FALLBACK_NAME = "run"
MOST_NAME_BYTES = 100  # of the 255 that file systems allow
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".lzma")
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")  # not that of "v1.5"
WILDCARD = re.compile(r"\*+|\?|\[[^\]]*\]")


def name_for(sources: Sequence[str]) -> str:
    """Return what to call a run: the name of its corpus, without folders and suffixes.

    Args:
        sources: the corpus, as :class:`jaxchar.config.CorpusConfig` has it, with "auto" resolved. The first
            one that makes a name is taken.
    """
    names = (_clean(name) for source in sources for name in _candidate_names(source))
    return next(filter(None, names), FALLBACK_NAME)


def _candidate_names(source: str) -> Iterator[str]:
    """Yield what a source might be called, the best name first."""
    if source == "-":
        yield "stdin"
        return
    try:
        path = Path(source).expanduser()
        if path.is_fifo() or path.is_char_device():
            yield "pipe"  # what a shell calls /dev/fd/63
            return
        is_glob = not path.exists()
        path = path.resolve() if path.name in ("", "..") else path.absolute()
    except (OSError, RuntimeError, ValueError):
        return
    names = [path.name if path.is_dir() else _stem(path.name), *(parent.name for parent in path.parents)]
    yield from (WILDCARD.sub(" ", name) if is_glob else name for name in names)


def _stem(name: str) -> str:
    """Return a file's name without its suffix, and without that of a compressed file before it."""
    name = name.lstrip(".")  # a hidden file's first one begins no suffix
    suffix = SUFFIX.search(name)
    if suffix is None:
        return name
    stem = name[: suffix.start()]
    return _stem(stem) if suffix[0].lower() in COMPRESSED else stem


def _clean(name: str) -> str:
    """Return a name that is safe and handy in paths and command lines; it may be empty."""
    name = unicodedata.normalize("NFC", name)
    kept = "".join(c if _is_plain(c) else "/" for c in name)
    cut = re.sub("/+", "_", kept).encode()[:MOST_NAME_BYTES].decode(errors="ignore")
    return cut.strip("._-")


def _is_plain(character: str) -> bool:
    """Whether a character is a letter, a number, a mark, a picture, or one of ``._-``."""
    if character.isascii():
        return character.isalnum() or character in "._-"
    category = unicodedata.category(character)
    return category[0] in "LMN" or category == "So"

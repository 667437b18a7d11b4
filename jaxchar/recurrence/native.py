"""The C++ library for CPUs: builds ``cpp/native.cc`` once, and registers its functions with JAX.

It needs a C++ compiler (``CXX``, or c++, g++ or clang++). Without one, JAX computes the same, and one line a
process tells the user why that is slower. The library is built for this kind of processor and kept in the
cache folder. The reason of a failed build is kept there too, until its cause may have changed.
:mod:`jaxchar.recurrence.native_layer`, :mod:`jaxchar.sampling.native_decoder` and
:mod:`jaxchar.memory.native_memory` call the library.
"""

import ctypes
import functools
import hashlib
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import jax

from jaxchar.cache import folders_for_compiled, is_writable

SOURCES = Path(__file__).with_name("cpp")
# Vector instructions of this processor; unused lanes may divide and compare, too.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-trapping-math", "-shared", "-fPIC", "-w")
FUNCTIONS = (
    "jaxchar_forward",
    "jaxchar_backward",
    "jaxchar_weight_gradients",
    "jaxchar_texts",
    "jaxchar_random_bits",
    "jaxchar_memory_counts",
    "jaxchar_memory_mix",
)
COMPILERS = ("c++", "g++", "clang++")
# Time limits of a compiler: for an empty file, and for the library on a busy machine.
TRIAL_SECONDS = 60
BUILD_SECONDS = 900
FAILURE_SECONDS = 86_400  # how long a failure is remembered: a compiler may be installed meanwhile
# The environment variables that change what a compiler does.
COMPILER_VARIABLES = (
    "CXX",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "COMPILER_PATH",
    "GCC_EXEC_PREFIX",
)
COMPILER_REMEDY = "install a C++ compiler, for instance g++ (apt install g++), or name yours in CXX"
FOLDER_REMEDY = "name a folder that programs may be loaded from in JAXCHAR_CACHE"

# If the host sets no handlers, Python prints a warning's text alone on standard error.
_log = logging.getLogger("jaxchar")


class Library(NamedTuple):
    """A library that is loaded."""

    digest: str  # of its file, twelve characters
    panel_columns: int  # columns per packed panel of a kernel


class Missing(NamedTuple):
    """Why there is no library."""

    reason: str
    remedy: str


class _Unusable(Exception):
    """A file could not be built, or not be loaded."""

    def __init__(self, reason: str, remedy: str = COMPILER_REMEDY) -> None:
        super().__init__(reason)
        self.remedy = remedy


def is_available() -> bool:
    """Return whether the library, which is for this machine's processor, is or can be built."""
    return library() is not None


def identity() -> str:
    """Return the library's digest, on which the last bits of results depend; empty if there is none."""
    loaded = library()
    return loaded.digest if loaded else ""


def library() -> Library | None:
    """Load the library, and build it first if necessary; None if that fails."""
    attempt = _attempt()
    return attempt if isinstance(attempt, Library) else None


def why_not() -> str:
    """Return why there is no library, and what to do about it; empty if there is one."""
    attempt = _attempt()
    return f"{attempt.reason}; {attempt.remedy}" if isinstance(attempt, Missing) else ""


@functools.cache
def tell_why_slower() -> None:
    """Warn, once a process, that the recurrence runs in JAX instead of C++."""
    if why_not():
        _log.warning("The recurrence runs in JAX, about half as fast as in C++: %s.", why_not())


def forget() -> None:
    """Forget what this process knows of the library."""
    _attempt.cache_clear()
    tell_why_slower.cache_clear()


# ---- finding -------------------------------------------------------------------------------------


@functools.cache
def _attempt() -> Library | Missing:
    """Load the library from the first folder that has it, else build it in the first suitable folder."""
    recipe, folders = _recipe(), folders_for_compiled()
    for built in (file for folder in folders for file in sorted(folder.glob(f"native-{recipe}-*.so"))):
        with suppress(_Unusable):
            return _loaded(built)
    compilers = list(_compilers())
    if not compilers:
        return Missing(f"no C++ compiler was found ({', '.join(COMPILERS)})", COMPILER_REMEDY)
    cause, notes = _cause(compilers), [folder / f"native-{recipe}.failed" for folder in folders]
    remembered = next(filter(None, (_remembered(note, cause) for note in notes)), None)
    if remembered is not None:
        return remembered
    outcome = _built_somewhere(compilers, recipe, folders)
    for note in notes:
        if isinstance(outcome, Library):
            with suppress(OSError):
                note.unlink(missing_ok=True)
        elif is_writable(note.parent):
            record = {"cause": cause, **outcome._asdict()}
            with suppress(OSError):
                note.write_text(json.dumps(record), encoding="utf-8")
            break
    return outcome


def _recipe() -> str:
    """Return a digest of all that a library is built from, except the compiler: twelve characters."""
    parts = [source.read_bytes() for source in sorted(SOURCES.iterdir())]
    parts += [" ".join(FLAGS).encode(), jax.lib.__version__.encode()]
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:12]


def _loaded(file: Path) -> Library:
    """Load a library whose name ends with its digest; a damaged one would crash the process."""
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        if file.stem.rpartition("-")[2] != digest:
            raise _Unusable(f"{file} is damaged")
        functions = ctypes.CDLL(str(file))
        capsules = {name: jax.ffi.pycapsule(getattr(functions, name)) for name in FUNCTIONS}
        panel_columns = ctypes.c_int.in_dll(functions, "jaxchar_panel_columns").value
    except (OSError, AttributeError, ValueError) as error:
        raise _Unusable(_one_line(str(error)), FOLDER_REMEDY) from error
    for name, capsule in capsules.items():
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return Library(digest, panel_columns)


# ---- building ------------------------------------------------------------------------------------


class Compiler(NamedTuple):
    """A command that compiles C++."""

    command: tuple[str, ...]
    program: str  # path of the executable


def _compilers() -> Iterator[Compiler]:
    """Yield the C++ compilers that are installed, each once: that of ``CXX``, then the usual ones."""
    wanted, seen = [os.environ.get("CXX", ""), *COMPILERS], set()
    for command in wanted:
        try:
            words = tuple(shlex.split(command))
        except ValueError:  # an unclosed quotation mark
            continue
        programs = [shutil.which(word) for word in words if "=" not in word and not word.startswith("-")]
        if not words or not programs or programs[0] is None:
            continue
        identity = (words[1:], os.path.realpath(programs[0]))
        if identity not in seen:
            seen.add(identity)
            yield Compiler(words, programs[0])


def _cause(compilers: list[Compiler]) -> str:
    """Return a digest of what can make a build fail; if it changes, the build is tried again."""
    facts: list[object] = [os.environ.get(name) for name in COMPILER_VARIABLES]
    for compiler in compilers:
        found = Path(compiler.program).stat()
        facts += [compiler, found.st_size, found.st_mtime_ns]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _remembered(note: Path, cause: str) -> Missing | None:
    """Return an earlier failure, if it is recent and had the same cause."""
    try:
        record = json.loads(note.read_text(encoding="utf-8"))
        is_fresh = 0 <= time.time() - note.stat().st_mtime < FAILURE_SECONDS
        if is_fresh and record["cause"] == cause:
            return Missing(str(record["reason"]), str(record["remedy"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _built_somewhere(compilers: list[Compiler], recipe: str, folders: list[Path]) -> Library | Missing:
    """Build with the first compiler that works, in the first folder from which libraries can be loaded."""
    places = [folder for folder in folders if is_writable(folder)]
    if not places:
        return Missing(f"no folder can be written to ({', '.join(map(str, folders))})", FOLDER_REMEDY)
    if places[0] != folders[0]:
        _log.warning(
            "The cache folder %s cannot be written to; %s is used instead. JAXCHAR_CACHE chooses another.",
            folders[0],
            places[0],
        )
    _log.warning("Building the recurrence in C++ for this processor, once: about twenty seconds.")
    failures: list[Missing] = []
    for compiler in compilers:
        for place in places:
            try:
                return _loaded(_build(compiler, recipe, place))
            except _Unusable as error:
                reason = f"it could not be built ({shlex.join(compiler.command)}: {error})"
                failures.append(Missing(reason, error.remedy))
                if error.remedy == COMPILER_REMEDY:  # another folder is no help
                    break
    return failures[0]


def _build(compiler: Compiler, recipe: str, folder: Path) -> Path:
    """Build the library; return its file, whose name ends with its digest."""
    try:
        # In a folder of its own until it is complete: another process may be building, too. TMPDIR puts the
        # compiler's temporary files there as well.
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            built = Path(unfinished) / "native.so"
            environment = {**os.environ, "TMPDIR": unfinished, "LC_ALL": "C"}
            trial = ["-x", "c++", "-c", os.devnull, "-o", f"{unfinished}/trial.o"]
            _run([*compiler.command, *trial], environment, TRIAL_SECONDS)
            files = ["-isystem", jax.ffi.include_dir(), str(SOURCES / "native.cc"), "-o", str(built)]
            _run([*compiler.command, *FLAGS, *files], environment, BUILD_SECONDS)
            digest = hashlib.sha256(built.read_bytes()).hexdigest()[:12]
            return built.replace(folder / f"native-{recipe}-{digest}.so")
    except OSError as error:
        raise _Unusable(_one_line(str(error))) from error


def _run(command: list[str], environment: dict[str, str], seconds: int) -> None:
    """Run a compiler; kill it and all that it started after so many seconds."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise _Unusable(f"no answer in {seconds} seconds") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise _Unusable(_complaint(said.decode(errors="replace")) or f"exit code {process.returncode}")


def _complaint(said: str) -> str:
    """Return the first line of a compiler's output that tells an error."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return _one_line((errors or lines or [""])[0])


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]

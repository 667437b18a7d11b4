"""The library in C++ for processors: builds ``cpp/native.cc`` once, and makes its functions known to JAX.

It needs a C++ compiler (``CXX``, or c++, g++ or clang++); without one, the same is computed in JAX. What
is built is made for this kind of processor and kept in the cache folder. Its callers are
:mod:`jaxchar.native_layer` and :mod:`jaxchar.native_reader`.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax

from jaxchar.devices import folder_for_compiled

SOURCES = Path(__file__).with_name("cpp")
# Vectors for this very processor; divisions and comparisons may be done for lanes that are not used.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-trapping-math", "-shared", "-fPIC", "-w")
FUNCTIONS = ("jaxchar_forward", "jaxchar_backward", "jaxchar_weight_gradients", "jaxchar_texts")


def is_available() -> bool:
    """Whether JAX computes on a processor that the functions below can be built for."""
    return library() is not None


class Library(NamedTuple):
    """What was built."""

    digest: str  # twelve characters
    panel_columns: int  # in which it wants kernels packed


def identity() -> str:
    """Return the library's digest, on which the last bits depend; nothing where it cannot be had."""
    loaded = library()
    return loaded.digest if loaded else ""


@functools.cache
def library() -> Library | None:
    """Build the library, if it is not there, and load it; None where it cannot be had."""
    if jax.default_backend() != "cpu":
        return None
    path = _path()
    try:
        if not path.exists():
            _build(path)
        functions = ctypes.CDLL(str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except (OSError, subprocess.SubprocessError):  # a compiler that cannot do it, or no place for it
        return None
    for name in FUNCTIONS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(functions, name)), platform="cpu")
    return Library(digest, ctypes.c_int.in_dll(functions, "jaxchar_panel_columns").value)


def _path() -> Path:
    recipe = [source.read_bytes() for source in sorted(SOURCES.iterdir())]
    recipe += [" ".join(FLAGS).encode(), jax.lib.__version__.encode()]
    return folder_for_compiled() / f"native-{hashlib.sha256(b'|'.join(recipe)).hexdigest()[:12]}.so"


def _build(library: Path) -> None:
    compiler = _compiler()
    if compiler is None:
        raise FileNotFoundError("no C++ compiler")
    print("Building what is in C++ for this processor, once: some fifteen seconds.", file=sys.stderr)
    library.parent.mkdir(parents=True, exist_ok=True)
    # Under a name of its own until it is whole: another process may be building, too.
    with tempfile.TemporaryDirectory(dir=library.parent) as unfinished:
        built = Path(unfinished) / library.name
        files = ["-isystem", jax.ffi.include_dir(), str(SOURCES / "native.cc"), "-o", str(built)]
        subprocess.run([compiler, *FLAGS, *files], check=True, capture_output=True)
        built.replace(library)


def _compiler() -> str | None:
    """Return the user's C++ compiler: ``CXX``, or the first there is."""
    wanted = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((name for name in wanted if name and shutil.which(name)), None)

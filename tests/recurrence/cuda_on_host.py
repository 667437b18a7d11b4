"""The CUDA kernels on a processor: what a card runs, compiled by a C++ compiler, thread for thread."""

import ctypes
import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxchar import cache
from jaxchar.recurrence import cuda_layer, nvrtc
from jaxchar.tracing import traced_for

HERE = Path(__file__).parent / "cuda_host"
COMPILER = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
# The order of threads between two barriers: in turns; the first, or the last, as far ahead as it can get.
IN_TURNS, FIRST_AHEAD, LAST_AHEAD, SHUFFLED = 0, 1, 2, 5


@functools.cache
def library(macros: nvrtc.Macros) -> ctypes.CDLL:
    """Compile the kernels for a processor."""
    texts = [path.read_bytes() for folder in (HERE, nvrtc.SOURCES) for path in sorted(folder.iterdir())]
    digest = hashlib.sha256(b"|".join([*texts, repr(macros).encode()])).hexdigest()[:16]
    built = cache.folder_for_compiled() / f"cuda-on-host-{digest}.so"
    if not built.exists():
        unfinished = built.with_suffix(f".{id(macros)}")
        flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-w", "-I", str(nvrtc.SOURCES)]
        given = [f"-D{name}={value}" for name, value in macros]
        command = [str(COMPILER), *flags, *given, str(HERE / "host.cc"), "-o", str(unfinished)]
        subprocess.run(command, check=True)
        unfinished.replace(built)
    return ctypes.CDLL(str(built))


def launched(kernel, macros, results, arguments, order=IN_TURNS):
    """Run a kernel with NumPy's arrays; return its results, which are NaN where it wrote nothing."""
    given = [np.ascontiguousarray(array) for array in arguments]
    found = [np.full(result.shape, np.nan, np.float32) for result in results]
    pointers = [array.ctypes.data for array in (*given, *found)]
    function = getattr(library(macros), f"run_{kernel}")
    hangs = function((ctypes.c_void_p * len(pointers))(*pointers), ctypes.c_uint(order))
    assert not hangs, "threads wait for each other for ever"
    return tuple(found)


@pytest.fixture
def on_host(monkeypatch):
    """Programs are traced for a card, and their kernels run here. Holds what was launched, and how."""
    calls = []

    def launch(kernel, macros, results, arguments):
        def run(*arrays):
            calls.append((kernel, macros, results, arrays))
            return launched(kernel, macros, results, arrays)

        return jax.pure_callback(run, tuple(results), *arguments)

    monkeypatch.setattr(cuda_layer, "launch", launch)
    monkeypatch.setattr(nvrtc, "why_not", lambda: "")
    with traced_for("gpu"):
        yield calls

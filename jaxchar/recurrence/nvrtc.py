"""Compiles the CUDA kernels in ``cuda/`` with NVRTC, NVIDIA's compiler as a library, which needs no card.

It comes with ``jax[cuda12]`` and ``jax[cuda13]``. What it makes is PTX, which the card's driver makes machine
code of.
"""

import ctypes
import ctypes.util
import functools
import importlib.util
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from jaxchar.errors import JaxcharError

SOURCES = Path(__file__).with_name("cuda")
DEVICE, TEXTS = "device.h", ("cells.h", "layer.cu")
# The PTX of a kernel, which cards of this capability and all later ones take.
ARCHITECTURE, CLUSTER_ARCHITECTURE = "compute_80", "compute_90"
# The oldest driver that JAX takes, 525, knows this version of PTX, and the kernels need no later one.
PTX_VERSION = "8.0"
REMEDY = "install it with JAX (pip install 'jaxchar[cuda12]') or alone (pip install nvidia-cuda-nvrtc-cu12)"

Kernel = Literal["forward", "backward"]
Macros = tuple[tuple[str, int], ...]


def why_not() -> str:
    """Return why nothing can be compiled, and what to do about it; empty if there is NVRTC."""
    return "" if _library() is not None else f"the library NVRTC was not found; {REMEDY}"


def source(device: str = DEVICE) -> str:
    """Return the kernels as one text.

    Args:
        device: the file with what they need of a card.
    """
    texts = [(SOURCES / name).read_text(encoding="utf-8") for name in (device, *TEXTS)]
    return "\n".join(text.replace("#pragma once\n", "") for text in texts)


def options(kernel: Kernel, macros: Macros) -> list[str]:
    """Return a compiler's options for one of the kernels."""
    other = {"forward": "ONLY_FORWARD", "backward": "ONLY_BACKWARD"}[kernel]
    return ["-std=c++17", f"-D{other}", *(f"-D{name}={value}" for name, value in macros)]


@functools.cache
def compiled(kernel: Kernel, macros: Macros) -> str:
    """Return the PTX of a kernel.

    Args:
        kernel: which one.
        macros: what ``cuda/layer.cu`` is to be compiled for, by name.

    Raises:
        JaxcharError: there is no NVRTC, or it does not compile the kernels.
    """
    library = _library()
    if library is None:
        raise JaxcharError(f"--implementation is cuda, but {why_not()}, or give --implementation=auto")
    architecture = ARCHITECTURE if dict(macros)["BLOCKS"] == 1 else CLUSTER_ARCHITECTURE
    given = [f"--gpu-architecture={architecture}", *options(kernel, macros)]
    ptx = _ptx(library, source(), given)
    return re.sub(r"^\.version .*$", f".version {PTX_VERSION}", ptx, count=1, flags=re.MULTILINE)


def forget() -> None:
    """Forget what this process knows of the library."""
    _library.cache_clear()
    compiled.cache_clear()


# ---- the library ---------------------------------------------------------------------------------


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Load NVRTC; None if it is nowhere."""
    for file in _candidates():
        with suppress(OSError):
            return ctypes.CDLL(file)
    return None


def _candidates() -> Iterator[str]:
    """Yield files that may be NVRTC: of JAX's packages, newest first, then of the system."""
    found = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (found.submodule_search_locations or ()) if found] if found else []
    for folder in folders:
        yield from map(str, sorted(folder.glob("*/lib/libnvrtc.so.1*"), reverse=True))
    of_system = ctypes.util.find_library("nvrtc")
    if of_system:
        yield of_system


def _ptx(library: ctypes.CDLL, text: str, given: list[str]) -> str:
    program = ctypes.c_void_p()

    def check(code: int) -> None:
        if code:
            said = _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
            line = next((line for line in said.splitlines() if "error" in line), f"its error is {code}")
            raise JaxcharError(
                f"--implementation is cuda, but NVRTC does not compile its kernels ({line.strip()[:200]}); "
                "give --implementation=auto"
            )

    name = b"layer.cu"
    check(library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name, 0, None, None))
    try:
        arguments = (ctypes.c_char_p * len(given))(*(option.encode() for option in given))
        check(library.nvrtcCompileProgram(program, len(given), arguments))
        return _text(library.nvrtcGetPTXSize, library.nvrtcGetPTX, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(size_of: Any, read: Any, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    if size_of(program, ctypes.byref(size)) or not size.value:
        return ""
    text = ctypes.create_string_buffer(size.value)
    return text.value.decode(errors="replace") if not read(program, text) else ""

"""The library in C++ as each compiler builds it, for several instruction sets: it computes the equations."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = """
import hashlib
import jax, numpy as np
from recurrent_problem import check_against_equations, make_problem, run
from jaxchar.recurrence import native
assert native.is_available(), native.why_not()
check_against_equations("native", "lstm", True)
problem = make_problem("lstm", T=5, B=23, D=19, H=45)  # strips and panels that are not full
found = jax.tree.leaves(run(problem, "native"))
print(hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in found)).hexdigest())
"""

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTIONS = set(CPU_INFO.read_text().split()) if CPU_INFO.exists() else set()


def digest_of_build(compiler: str, folder: Path) -> str:
    """Build the library in a process of its own, as XLA takes each name once; return its results' digest."""
    folders = [os.path.dirname(__file__), *sys.path]  # noqa: PTH120
    environment = {
        **os.environ,
        "CXX": compiler,
        "JAX_PLATFORMS": "cpu",
        "JAXCHAR_COMPILED": str(folder),
        "TMPDIR": str(folder),  # no library that was built before lies there
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }
    command = [sys.executable, "-c", CHECK]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.slow  # a compiler takes fifteen seconds and more
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_what_a_compiler_builds_computes_the_equations(compiler, tmp_path):
    program = shutil.which(compiler)
    if program is None:
        pytest.skip(f"{compiler} is not installed")
    digest_of_build(program, tmp_path)
    (built,) = tmp_path.rglob("native-*.so")
    made_by = "clang version" if compiler == "clang++" else "GCC: ("
    assert made_by.encode() in built.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif("avx512f" not in INSTRUCTIONS, reason="the processor has no AVX-512")
def test_avx2_and_avx512_give_the_same_bits(tmp_path):
    """Their tiles have other rows and columns, and every sum has the same order."""
    wide = digest_of_build("g++", tmp_path / "avx512")
    assert digest_of_build("g++ -mno-avx512f", tmp_path / "avx2") == wide


@pytest.mark.slow
@pytest.mark.skipif("avx" not in INSTRUCTIONS, reason="no processor of this kind")
def test_without_avx_the_equations_are_computed(tmp_path):
    digest_of_build("g++ -mno-avx", tmp_path)

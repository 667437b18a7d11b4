"""The library in C++ as each compiler builds it: it loads, and computes the equations."""

import os
import shutil
import subprocess
import sys

import pytest

CHECK = """
from recurrent_problem import check_against_equations
from jaxchar.recurrence import native
assert native.is_available(), native.why_not()
check_against_equations("native", "lstm", True)
"""


@pytest.mark.slow  # a compiler takes fifteen seconds and more
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_what_a_compiler_builds_computes_the_equations(compiler, tmp_path):
    """In a process of its own, as XLA takes each name once."""
    program = shutil.which(compiler)
    if program is None:
        pytest.skip(f"{compiler} is not installed")
    folders = [os.path.dirname(__file__), *sys.path]  # noqa: PTH120
    environment = {
        **os.environ,
        "CXX": program,
        "JAX_PLATFORMS": "cpu",
        "JAXCHAR_COMPILED": str(tmp_path),
        "TMPDIR": str(tmp_path),  # no library that was built before lies there
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }
    subprocess.run([sys.executable, "-c", CHECK], env=environment, check=True)
    (built,) = tmp_path.rglob("native-*.so")
    made_by = "clang version" if compiler == "clang++" else "GCC: ("
    assert made_by.encode() in built.read_bytes()

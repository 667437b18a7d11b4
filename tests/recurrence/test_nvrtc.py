"""The CUDA kernels compiled for cards, on a machine without one: what is made of them, and what may lack.

What needs NVIDIA's compilers is left out where they are not installed: ``make test-accelerators``.
"""

import ctypes.util
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jaxchar.errors import JaxcharError
from jaxchar.recurrence import nvrtc
from jaxchar.recurrence.cuda_plan import FIRST_WITH_CLUSTERS, plan_of


def ptxas() -> str | None:
    """Return NVIDIA's assembler: of its package, or of the system."""
    nvidia = importlib.util.find_spec("nvidia")
    folders = list((nvidia and nvidia.submodule_search_locations) or ())
    packaged = [str(path) for folder in folders for path in Path(folder).glob("*/bin/ptxas")]
    return next(iter(packaged), shutil.which("ptxas"))


needs_nvrtc = pytest.mark.skipif(bool(nvrtc.why_not()), reason="NVRTC is not installed")
needs_ptxas = pytest.mark.skipif(ptxas() is None, reason="ptxas is not installed")


def macros(hidden_size, parts, gates, capability=FIRST_WITH_CLUSTERS, T=128, B=30):
    """Return what a layer with everything that takes registers is compiled for."""
    plan = plan_of(hidden_size, parts, capability)
    of_layer = {"GATES": gates, "PARTS": parts, "HARD": 0, "MASKED": 1, "BIASED": int(gates == 3)}
    sizes = {"STEPS": T, "BATCH": B, "UNITS": hidden_size, "PADDED": plan.padded, "BLOCKS": plan.blocks}
    of_plan = {"IN_REGISTERS": plan.in_registers, "SHARED_BYTES": plan.shared_bytes}
    return tuple((sizes | of_layer | of_plan).items())


@needs_nvrtc
@pytest.mark.parametrize(("kernel", "other"), [("forward", "backward"), ("backward", "forward")])
def test_a_kernel_is_compiled_alone_for_every_driver_that_jax_takes(kernel, other):
    ptx = nvrtc.compiled(kernel, macros(16, 1, 4))
    assert re.findall(r"^\.version (.*)$", ptx, re.MULTILINE) == ["8.0"]
    assert re.findall(r"^\.target (.*)$", ptx, re.MULTILINE) == ["sm_80"]
    assert f".entry {kernel}(" in ptx and f".entry {other}(" not in ptx
    assert "mma.sync.aligned.m16n8k16" in ptx and "cluster" not in ptx


@needs_nvrtc
def test_a_cluster_is_compiled_for_cards_that_have_them():
    ptx = nvrtc.compiled("forward", macros(256, 1, 4))
    assert ".target sm_90" in ptx and "barrier.cluster.wait" in ptx and ".reqnctapercluster 4" in ptx


# The layers that need most: of one block, of clusters, with all of the kernel in registers and with a part.
SIZES = [(128, 1), (112, 1), (100, 1), (64, 3), (96, 2), (128, 3), (256, 1), (512, 1), (256, 3), (384, 1)]


@pytest.mark.slow
@needs_nvrtc
@needs_ptxas
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("gates", [4, 3])
@pytest.mark.parametrize(("hidden_size", "parts"), SIZES)
def test_no_register_is_spilled(hidden_size, parts, gates, architecture, tmp_path, record_property):
    capability = {"sm_80": 8.0, "sm_90": 9.0, "sm_100": 10.0}[architecture]
    if plan_of(hidden_size, parts, capability) is None:
        pytest.skip("such a card does not take this layer")
    for kernel in ("forward", "backward"):
        (tmp_path / "kernel.ptx").write_text(
            nvrtc.compiled(kernel, macros(hidden_size, parts, gates, capability))
        )
        command = [ptxas(), f"-arch={architecture}", "-v", tmp_path / "kernel.ptx", "-o", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        spilled = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
        (registers,) = re.findall(r"Used (\d+) registers", done.stderr)
        record_property(f"registers {kernel}", registers)
        assert spilled == ["0", "0"], f"{kernel}: {done.stderr}"


# ---- what may be missing -------------------------------------------------------------------------


@pytest.fixture
def no_nvrtc(monkeypatch):
    """NVRTC is not installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    nvrtc.forget()
    yield
    monkeypatch.undo()
    nvrtc.forget()


def test_without_nvrtc_one_line_says_what_to_install(no_nvrtc):
    assert "pip install nvidia-cuda-nvrtc-cu12" in nvrtc.why_not()
    with pytest.raises(
        JaxcharError, match=r"NVRTC was not found; install it .* or give implementation='auto'"
    ):
        nvrtc.compiled("forward", macros(16, 1, 4))


def test_a_file_that_is_no_library_is_passed_over(no_nvrtc, monkeypatch, tmp_path):
    broken = tmp_path / "libnvrtc.so"
    broken.write_text("no library")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: str(broken))
    nvrtc.forget()
    assert "was not found" in nvrtc.why_not()


@needs_nvrtc
def test_what_nvrtc_does_not_compile_is_one_line():
    wrong = dict(macros(16, 1, 4)) | {"SHARED_BYTES": 1}
    with pytest.raises(JaxcharError, match=r"NVRTC does not compile its kernels .*shared memory") as caught:
        nvrtc.compiled("forward", tuple(wrong.items()))
    assert "\n" not in str(caught.value)


def test_the_text_that_is_compiled_is_whole():
    text = nvrtc.source()
    assert "#include" not in text and "#pragma once" not in text
    assert text.index("multiply_add(float") < text.index("cell_forward(") < text.index("KERNEL forward(")

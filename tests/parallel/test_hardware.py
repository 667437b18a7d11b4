"""What is said of the device of a run: one line, and only where another device would be expected."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxchar.parallel import hardware
from jaxchar.parallel.devices import make_mesh

ROOT = Path(__file__).parent.parent.parent
VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  515.65.01  Wed Jul 20 14:00:58 UTC 2022\n"


def mesh_of(kind, used, platform="gpu"):
    """Return what stands for a mesh of so many devices."""
    devices = np.array([SimpleNamespace(platform=platform, device_kind=kind)] * used)
    return SimpleNamespace(devices=devices, local_devices=list(devices))


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """A machine with an NVIDIA card, where nobody has chosen JAX's platform."""
    (tmp_path / "version").write_text(VERSION)
    monkeypatch.setattr(hardware, "NVIDIA_PATHS", (str(tmp_path / "nvidia0"), str(tmp_path)))
    monkeypatch.setattr(hardware, "_processor_is_asked_for", lambda: False)


def test_a_gpu_without_cuda_is_told_with_the_command_that_installs_it(nvidia, monkeypatch):
    monkeypatch.setattr(hardware, "CUDA_PLUGINS", ("no_such_plugin",))
    line = hardware.notice_of_device(make_mesh())
    assert "a GPU was found, but this jax has no CUDA; make install EXTRA=cuda12" in line


def test_a_gpu_that_cuda_cannot_use_is_told_with_its_driver(nvidia, monkeypatch):
    monkeypatch.setattr(hardware, "CUDA_PLUGINS", ("jax",))  # which is installed
    assert "cannot use it (driver 515.65.01)" in hardware.notice_of_device(make_mesh())


def test_nothing_is_said_of_a_processor_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_processor_is_asked_for", lambda: False)
    monkeypatch.setattr(hardware, "NVIDIA_PATHS", (str(tmp_path / "nvidia0"), str(tmp_path / "driver")))
    assert hardware.notice_of_device(make_mesh()) == ""


def test_nothing_is_said_where_the_processor_was_asked_for(nvidia, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(hardware, "NVIDIA_PATHS", ("/", "/"))
    assert jax.config.jax_platforms == "cpu"  # by tests/conftest.py
    assert hardware.notice_of_device(make_mesh()) == ""


def test_several_devices_are_told_where_one_is_used(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    line = hardware.notice_of_device(mesh_of("NVIDIA H100", 1))
    assert line.startswith("Training on 1 of 4 x NVIDIA H100") and "--devices=4" in line
    assert hardware.notice_of_device(mesh_of("NVIDIA H100", 4)) == ""


def test_every_accelerator_has_an_extra_of_the_same_jax():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (jax_range,) = (line.removeprefix("jax") for line in project["dependencies"] if line.startswith("jax>"))
    extras = project["optional-dependencies"]
    for name in ("cuda12", "cuda13", "tpu"):
        assert extras[name] == [f"jax[{name}]{jax_range}"]
        assert name in (ROOT / "Makefile").read_text(encoding="utf-8")

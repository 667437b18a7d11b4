"""What a run computes on, and why, where that may not be what its user expects."""

import importlib.util
import os
from pathlib import Path

import jax
from jax.sharding import Mesh

# Either is there where Linux has the driver of an NVIDIA card.
NVIDIA_PATHS = ("/dev/nvidia0", "/proc/driver/nvidia")
CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
PLATFORM_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


def notice_of_device(mesh: Mesh) -> str:
    """Return one line on the device where another would be expected; empty where there is nothing to say."""
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return _why_no_gpu()
    there, used = jax.local_device_count(), len(mesh.local_devices)
    if used < there:
        return (
            f"Training on {used} of {there} x {device.device_kind}: a small model gains nothing from more; "
            f"--devices={there} shares every batch between all"
        )
    return ""


def _why_no_gpu() -> str:
    found = next(filter(os.path.exists, NVIDIA_PATHS), None)
    if found is None or _processor_is_asked_for():
        return ""
    if not any(map(importlib.util.find_spec, CUDA_PLUGINS)):
        return (
            "Training on the processor: a GPU was found, but this jax has no CUDA; "
            "make install EXTRA=cuda12, or pip install 'jax[cuda12]'"
        )
    return (
        f"Training on the processor: a GPU was found, but JAX's CUDA cannot use it{_driver()}; "
        "CUDA 12 needs a driver of 525 or newer, CUDA 13 one of 580 or newer; does nvidia-smi show the card?"
    )


def _processor_is_asked_for() -> bool:
    """Whether somebody chose JAX's platform, so that the processor is no surprise."""
    asked = jax.config.jax_platforms  # type: ignore[attr-defined]
    return bool(asked) or any(map(os.environ.get, PLATFORM_VARIABLES))


def _driver() -> str:
    """Return the driver's version in brackets, where the system tells it."""
    try:
        lines = Path(NVIDIA_PATHS[1], "version").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return ""
    version = next((word for word in lines if word.count(".") >= 1 and word.replace(".", "").isdigit()), "")
    return f" (driver {version})" if version else ""

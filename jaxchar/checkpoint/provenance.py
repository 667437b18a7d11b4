"""What the bits of a run depend on beside seed, settings and text: library versions and the machine.

It is recorded in every checkpoint. A run that is resumed with others says that it may round differently.
"""

import platform
from importlib.metadata import version
from typing import Any

import jax

from jaxchar.ambient import compiler_settings
from jaxchar.machine import num_cores
from jaxchar.recurrence import native
from jaxchar.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def library_versions() -> dict[str, str]:
    """Return the versions of the packages that compute the numbers, and of Python."""
    ours = {"jaxchar": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in PACKAGES}


def describe_machine(devices: int = 1) -> dict[str, Any]:
    """Return what bit-exactness depends on beside the library versions.

    Args:
        devices: how many devices share the work.
    """
    device = jax.devices()[0]
    compiler = compiler_settings()
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "device_count": devices,
        "processor": platform.machine(),
        "cores": num_cores(),
        "recurrence": (native.identity() if device.platform == "cpu" else "") or "fused",
        **({"compiler_settings": compiler} if compiler else {}),  # older checkpoints have none
    }

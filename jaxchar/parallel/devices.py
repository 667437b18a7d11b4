"""The devices that a run computes on: a mesh along the batch, the same code for one and for many.

Every device holds the whole state and the whole text, and computes its share of each batch; XLA adds the
gradients up between them. So a run is the same on any number of devices, but for the rounding of sums.
"""

import contextlib
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxchar.ambient import start_jax
from jaxchar.config import Precision
from jaxchar.errors import JaxcharError

AXIS = "batch"
FIRST_WITH_TF32 = 8.0  # compute capability of the first NVIDIA cards (Ampere) that have TF32


def make_mesh(devices: int | None = 1, batch_size: int = 0) -> Mesh:
    """Return a mesh of devices to split a batch over.

    Of a processor's cores, JAX makes one device unless more are asked for before JAX is first used.

    Args:
        devices: how many of each process; None: one.
        batch_size: of all processes together; 0 where it does not matter.

    Raises:
        JaxcharError: there are not so many devices, or the batch cannot be split between them evenly.
    """
    if devices is not None and devices > max(1, jax.config.jax_num_cpu_devices):  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):  # JAX has begun; what it has is counted below
            jax.config.update("jax_num_cpu_devices", devices)
    start_jax()
    there, devices = jax.local_device_count(), devices or 1
    if devices > there:
        raise JaxcharError(f"--devices is {devices}, but there are {there} here; {_remedy(there)}")
    count = devices * jax.process_count()
    if batch_size % count:
        raise JaxcharError(
            f"a batch of {batch_size} cannot be split evenly between {count} devices; give a --batch-size "
            f"that is a multiple of {count}, or other --devices"
        )
    everywhere = range(jax.process_count())
    chosen = [device for process in everywhere for device in jax.local_devices(process)[:devices]]
    return Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))


def _remedy(there: int) -> str:
    if jax.default_backend() != "cpu":
        return f"give at most --devices {there}"
    return (
        "JAX has begun, and makes no more; in Python, say jax.config.update('jax_num_cpu_devices', N) "
        "before anything else uses JAX"
    )


# ---- precision -----------------------------------------------------------------------------------


def check_precision(device: jax.Device, precision: Precision) -> None:
    """Raise a JaxcharError where a device does not have a precision; processors take every one."""
    if precision != "tf32" or device.platform == "cpu":
        return
    if device.platform not in ("gpu", "cuda") or _compute_capability(device) < FIRST_WITH_TF32:
        raise JaxcharError(
            f"--precision is 'tf32', which {device.device_kind} does not have; give --precision=highest, or "
            "--precision=default"
        )


def _compute_capability(device: jax.Device) -> float:
    try:
        return float(getattr(device, "compute_capability", FIRST_WITH_TF32))
    except ValueError:  # another maker's: XLA says what it lacks
        return FIRST_WITH_TF32


# ---- laying out ----------------------------------------------------------------------------------


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the layout of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Return the arrays of a pytree, each of them whole on every device of the mesh."""
    layout = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, layout)
    # Every process has the same values, so nothing need be sent.
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(
            np.shape(leaf), layout, lambda part: np.asarray(leaf)[part]
        ),
        tree,
    )


def split_rows(tree: Any, mesh: Mesh) -> Any:
    """Tell XLA, inside a compiled function, that each device computes some rows of these [B, ...] arrays."""
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def on_one_device(tree: Any) -> Any:
    """Return replicated arrays as they are on this process's first device."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

"""What the machine is, and what it can do, measured in the same run."""

import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxchar
from jaxchar.ambient import start_jax
from jaxchar.benchmark.baselines.nnx_weights import set_precision
from jaxchar.machine import num_cores
from jaxchar.parallel.devices import make_mesh
from jaxchar.parallel.hardware import notice_of_device

PRODUCT_SIZES = {"cpu": (512, 1024, 2048), "gpu": (2048, 4096, 8192)}
COPY_NUMBERS = {"cpu": 1 << 26, "gpu": 1 << 29}  # float32 of an array larger than any cache
TRIES = 8
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "keras")


def measure(dtypes: list[str]) -> dict[str, Any]:
    """Return the best matrix products (operations/s, by dtype) and the best copy (bytes/s) now."""
    backend = jax.default_backend()
    sizes = PRODUCT_SIZES.get(backend, PRODUCT_SIZES["gpu"])
    peaks = {dtype: max(product_rate(size, dtype) for size in sizes) for dtype in dtypes}
    if backend == "cpu":  # the faster of the two libraries counts
        peaks["float32"] = max(peaks["float32"], *(numpy_product_rate(size) for size in sizes))
    return {"peak": peaks, "bandwidth": copy_rate(COPY_NUMBERS.get(backend, COPY_NUMBERS["gpu"]))}


def product_rate(size: int, dtype: str) -> float:
    """Return operations/s of the best of some square products in JAX."""
    set_precision(dtype)
    square = jnp.ones((size, size), jnp.bfloat16 if dtype == "bfloat16" else jnp.float32)
    return 2 * size**3 / best_seconds(lambda: jnp.dot(square, square).block_until_ready())


def numpy_product_rate(size: int) -> float:
    """Return operations/s of the best of some square products in NumPy."""
    square, out = np.ones((size, size), np.float32), np.empty((size, size), np.float32)
    return 2 * size**3 / best_seconds(lambda: np.dot(square, square, out=out))


def copy_rate(numbers: int) -> float:
    """Return bytes/s, read and written together, of the best of some passes over a large array."""
    arrays = [jnp.ones(numbers, jnp.float32)]
    # In place: a new array's first use of its memory would be timed, too.
    negate = jax.jit(lambda array: -array, donate_argnums=0)

    def once() -> None:
        arrays.append(negate(arrays.pop()).block_until_ready())

    return 2 * arrays[0].nbytes / best_seconds(once)


def best_seconds(work: Callable[[], Any]) -> float:
    """Return the least time of some work, after it was done once."""
    work()
    runs = []
    for _ in range(TRIES):
        started = time.perf_counter()
        work()
        runs.append(time.perf_counter() - started)
    return min(runs)


def describe() -> dict[str, Any]:
    """Return what the machine and the libraries are, and when this is."""
    start_jax()
    device = jax.devices()[0]
    notice = notice_of_device(make_mesh())
    return {
        "platform": device.platform,
        "device": processor_name() if device.platform == "cpu" else device.device_kind,
        "cores": num_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "jaxchar": jaxchar.__version__,
        **{name: version for name in LIBRARIES if (version := installed_version(name))},
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        **({"notice": notice} if notice else {}),
    }


def processor_name() -> str:
    """Return what the system calls its processor."""
    if sys.platform.startswith("linux"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - no file of ours
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def installed_version(name: str) -> str | None:
    """Return a library's version, or None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

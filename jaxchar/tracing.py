"""What a program is traced for: the platform of its devices, and the precision of its products.

JAX's default backend is not the device of every program: a text may be written on the processor of a
machine with a GPU, and a program can be compiled for a device that is not there. So whoever traces a program
says what for (:func:`traced_for`), and what depends on it asks here. ``jax.jit`` traces anew for another
platform or precision.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax import lax

ProductPrecision = lax.Precision | lax.DotAlgorithmPreset


class Numerics(NamedTuple):
    """How the products of a program are computed."""

    platform: str  # "cpu", "gpu" or "tpu"
    precision: str  # a jaxchar.config.Precision

    @property
    def on_processor(self) -> bool:
        """Whether the program runs on a processor."""
        return self.platform == "cpu"

    @property
    def of_products(self) -> ProductPrecision:
        """What JAX calls the precision; a processor has but one."""
        if self.on_processor or self.precision == "default":
            return lax.Precision.DEFAULT
        return lax.DotAlgorithmPreset.TF32_TF32_F32 if self.precision == "tf32" else lax.Precision.HIGHEST

    @property
    def setting(self) -> str:
        """The same as a value of ``jax_default_matmul_precision``."""
        name = self.of_products.name
        return name.lower() if isinstance(self.of_products, lax.Precision) else name


_numerics = jax.make_user_context(None)


def numerics() -> Numerics:
    """Return what is being traced for; where nobody has said, JAX's default backend and float32."""
    return _numerics.value or Numerics(jax.default_backend(), "highest")


@contextlib.contextmanager
def traced_for(platform: str | None = None, precision: str | None = None) -> Iterator[None]:
    """Trace, until the block ends, for a platform and a precision; None leaves one as it is."""
    before = numerics()
    chosen = Numerics(
        before.platform if platform is None else _kind_of(platform),
        before.precision if precision is None else precision,
    )
    with _numerics(chosen), jax.default_matmul_precision(chosen.setting):
        yield


def host() -> jax.Device | None:
    """Return this machine's processor as a device of JAX; None where JAX was told to leave it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


@contextlib.contextmanager
def on_host() -> Iterator[None]:
    """Compute on the processor, where JAX may, until the block ends."""
    device = None if jax.default_backend() == "cpu" else host()
    if device is None:
        yield
        return
    with jax.default_device(device), traced_for("cpu"):
        yield


def platform_of(arrays: Any) -> str:
    """Return the platform of the device that a pytree's arrays are on; JAX's default one for NumPy's."""
    on_devices = (leaf for leaf in jax.tree.leaves(arrays) if isinstance(leaf, jax.Array))
    return next(
        (_kind_of(device.platform) for leaf in on_devices for device in leaf.devices()), jax.default_backend()
    )


def _kind_of(platform: str) -> str:
    """Return JAX's name for a kind of backend, where XLA has one for each maker."""
    return "gpu" if platform in ("cuda", "rocm") else platform

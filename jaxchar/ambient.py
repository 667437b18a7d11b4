"""What surrounds the arithmetic: settings of JAX and NumPy that anybody in the process may have changed.

Nothing outside of seed, step, settings and text may decide what is computed. So what can be set for a
while is set for a while (:func:`pinned`, which leaves the caller's settings as they were), what only holds
for a whole process is refused (:func:`start_jax`) or recorded in the checkpoint (:func:`compiler_settings`).
"""

import contextlib
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

import flax
import jax
import numpy as np
from jax._src import xla_bridge
from jax._src.config import config_states  # the public names do not cover all that is pinned below

from jaxchar.errors import JaxcharError

# JAX's own defaults; a setting that this version of JAX does not know changes nothing in it.
PINS: dict[str, Any] = {
    # numbers and their types
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_default_matmul_precision": None,
    "jax_allow_f16_reductions": True,
    # random numbers
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_legacy_prng_key": "allow",
    "jax_debug_key_reuse": False,
    # what is compiled
    "jax_disable_jit": False,
    "jax_use_direct_linearize": True,
    "jax_use_shardy_partitioner": True,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_default_device": None,
    # checks that stop a program which is as it should be
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_check_tracer_leaks": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}
# XLA's flags that cannot change a number; all others are recorded.
NEUTRAL_FLAGS = re.compile(r"--xla_(dump_|force_host_platform_device_count|hlo_profile|gpu_cuda_data_dir)")
UNSAFE_FLAGS = re.compile(r"--(xla_\w*enable_fast_math|xla_\w*unsafe\w*)(=(true|1|yes))?", re.IGNORECASE)
# Flax's own defaults, which hold for a whole process; with others the model is not what it should be.
FLAX_DEFAULTS = {
    "flax_hijax_variable": False,
    "flax_pytree_module": True,
    "nnx_graph_mode": True,
    "nnx_graph_updates": True,
}
# Variables of the environment that libraries below XLA read for themselves.
LOW_LEVEL_VARIABLES = ("NVIDIA_TF32_OVERRIDE", "PJRT_NPROC")
FLAG_CHECK_SECONDS = 60

KEY_KIND = PINS["jax_default_prng_impl"]

Item = TypeVar("Item")


def random_key(seed: int | jax.Array) -> jax.Array:
    """Return the key of a seed, [] uint32, of the one kind that all of jaxchar draws with."""
    return jax.random.key(seed, impl=KEY_KIND)


_is_forked_from_jax = False


def _note_fork() -> None:
    """Remember, in a process that was just forked, whether JAX's threads were left behind."""
    global _is_forked_from_jax
    _is_forked_from_jax = _is_forked_from_jax or xla_bridge.backends_are_initialized()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_note_fork)


def check_not_forked() -> None:
    """Raise a JaxcharError where JAX would wait for ever: in a process forked from one that used it."""
    if _is_forked_from_jax:
        raise JaxcharError(
            "this process was forked from one that had used JAX, whose threads a fork leaves behind, so JAX "
            "would hang here; start processes with multiprocessing.get_context('spawn')"
        )


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Compute with JAX's and NumPy's own settings, in this thread, until the block ends.

    Raises:
        JaxcharError: JAX cannot compute in this process, see :func:`check_not_forked`.
    """
    check_not_forked()
    with contextlib.ExitStack() as settings:
        for name, value in PINS.items():
            if name in config_states:
                settings.enter_context(config_states[name](value))
        if not jax.sharding.get_abstract_mesh().empty:  # a mesh of the caller's would lay out our arrays
            settings.enter_context(jax.set_mesh(None))
        settings.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        yield


def pinned_items(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what an iterator yields, which computes with settings of its own and its caller does not."""
    end = object()
    while True:
        with pinned():
            item = next(items, end)
        if item is end:
            return
        yield item  # type: ignore[misc]


# ---- what holds for a whole process --------------------------------------------------------------


def start_jax() -> None:
    """Let JAX find its devices, unless it has.

    Raises:
        JaxcharError: it cannot, or the process asks XLA for another arithmetic or Flax for other modules.
    """
    check_not_forked()
    _check_flax_settings()
    _check_unsafe_flags()
    _check_flags_known_to_xla()
    try:
        jax.local_devices()
    except Exception as error:  # RuntimeError, AssertionError, ... by platform
        raise JaxcharError(_no_devices(error)) from error


def compiler_settings() -> str:
    """Return the process's settings that may round differently, sorted; usually nothing."""
    found = {flag for flag in _xla_flags() if not NEUTRAL_FLAGS.match(flag)}
    found |= {f"{name}={os.environ[name]}" for name in LOW_LEVEL_VARIABLES if os.environ.get(name)}
    if jax.config.read("jax_disable_most_optimizations"):
        found.add("jax_disable_most_optimizations")
    return " ".join(sorted(found))


def unlike_then(recorded: object) -> list[str]:
    """Return the :func:`compiler_settings` that differ from those of a checkpoint's record, if any do."""
    then = recorded if isinstance(recorded, str) else ""
    return sorted({*then.split()} ^ {*compiler_settings().split()})


def _xla_flags() -> list[str]:
    return os.environ.get("XLA_FLAGS", "").split()


def _check_flax_settings() -> None:
    for name, default in FLAX_DEFAULTS.items():
        value = getattr(flax.config, name, default)
        if value != default:
            raise JaxcharError(
                f"Flax's setting {name} is {value}, but jaxchar needs {default}; unset {name.upper()} in the "
                f"environment, or say flax.config.update({name!r}, {default})"
            )


def _check_unsafe_flags() -> None:
    unsafe = [flag for flag in _xla_flags() if UNSAFE_FLAGS.fullmatch(flag)]
    if unsafe:
        raise JaxcharError(
            f"XLA_FLAGS has {' '.join(unsafe)}, which changes what is computed, so that no seed gives the "
            "same text; take it out of XLA_FLAGS"
        )


def _check_flags_known_to_xla() -> None:
    """Raise a JaxcharError where XLA would end the whole process because of its flags."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not xla_bridge.backends_are_initialized():
        reason = _complaint_about(flags)
        if reason:
            raise JaxcharError(f"XLA cannot use XLA_FLAGS={flags!r}: {reason}; unset it or correct it")


@functools.cache
def _complaint_about(flags: str) -> str:
    """Return what XLA says about its flags before it ends a process; nothing where it takes them."""
    program = "import jaxlib.xla_client; jaxlib.xla_client.CompileOptions()"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "XLA_FLAGS": flags},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FLAG_CHECK_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):  # no Python of its own: it cannot be tried
        return ""
    said = tried.stderr.decode(errors="replace")
    reasons = re.findall(r"^[EF]\d{4} [^\]]*\] (.*)", said, re.MULTILINE)  # an error, or a fatal one
    return reasons[0].rstrip(". ") if tried.returncode and reasons else ""


def _no_devices(error: Exception) -> str:
    asked = next((n for n in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if os.environ.get(n)), None)
    where = "jax_platforms" if asked is None else asked
    value = config_states["jax_platforms"].value if asked is None else os.environ[asked]
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")[:300]
    if not value:
        return f"JAX finds no device to compute on: {reason}; set JAX_PLATFORMS=cpu to use the processor"
    return f"{where} is {value!r}, but JAX cannot compute there: {reason}; unset it, or set JAX_PLATFORMS=cpu"

"""Calls of foreign functions for the rows of a batch: on one device or several, and under ``jax.vmap``.

JAX knows nothing of what a foreign function computes, so it is told here how such a call is split between
devices and how it is vectorized. Letters as in :mod:`jaxchar.recurrence.unroll`; N is the size of a vmap.
"""

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from jaxchar.errors import JaxcharError

Axes = Sequence[Sequence[str]]  # the names of the axes of each array


@functools.cache
def by_batch(function: Callable, rule: str, *first: Any) -> Callable:
    """Return a function that each device calls for its own rows of the batch, and that ``jax.vmap`` takes.

    Args:
        function: takes and returns arrays of any batch size.
        rule: the axes of its arguments and results; "b" is split, and results without it are summed.
        first: its static arguments, before the arrays.
    """
    arguments, results = ([axes.split() for axes in side.split(", ")] for side in rule.split(" -> "))
    on_devices = _split_between_devices(partial(function, *first), rule, arguments, results)
    return _without_derivative(_vectorized(on_devices, arguments, results))


def _split_between_devices(function: Callable, rule: str, arguments: Axes, results: Axes) -> Callable:
    summed = "b" not in results[0]

    def partition(mesh, shapes, _):
        # Only the batch may be split, see need_replication_factors.
        split = next((axis for shape in shapes for axis in shape.sharding.spec if axis is not None), None)

        def layout(axes):
            return NamedSharding(mesh, PartitionSpec(*(split if axis == "b" else None for axis in axes)))

        def on_one_device(*rows):
            here = function(*rows)
            return lax.psum(here, split) if summed and split else here

        return mesh, on_one_device, tuple(map(layout, results)), tuple(map(layout, arguments))

    whole = tuple(dict.fromkeys(axis for axes in (*arguments, *results) for axis in axes if axis != "b"))
    on_all = custom_partitioning(function)
    on_all.def_partition(
        partition,
        sharding_rule=rule,
        need_replication_factors=whole,
        reduction_factors=("b",) if summed else (),
    )
    return on_all


def _vectorized(function: Callable, arguments: Axes, results: Axes) -> Callable:
    """Return a function that ``jax.vmap`` takes: more rows of one batch, or else one call after another."""
    vectorized = custom_vmap(lambda *arrays: function(*arrays))

    @vectorized.def_vmap
    def over_all(size: int, is_mapped: Sequence[bool], *arrays: jax.Array) -> tuple[Any, Any]:
        all_mapped = (True,) * len(results)
        same_weights = all("b" in axes for axes, mapped in zip(arguments, is_mapped, strict=True) if mapped)
        if same_weights and "b" in results[0]:
            rows = [
                _merged(array if mapped else jnp.broadcast_to(array, (size, *array.shape)), axes.index("b"))
                if "b" in axes
                else array
                for array, axes, mapped in zip(arrays, arguments, is_mapped, strict=True)
            ]
            found = vectorized(*rows)
            return tuple(
                _unmerged(r, a.index("b"), size) for r, a in zip(found, results, strict=True)
            ), all_mapped

        def one(mapped_arrays: list[jax.Array]) -> Any:
            mapped, others = iter(mapped_arrays), zip(arrays, is_mapped, strict=True)
            return tuple(vectorized(*(next(mapped) if its else array for array, its in others)))

        mapped_arrays = [array for array, its in zip(arrays, is_mapped, strict=True) if its]
        return lax.map(one, mapped_arrays), all_mapped

    return vectorized


def _merged(array: jax.Array, axis: int) -> jax.Array:
    """Return [N, ..., B, ...] as [..., N * B, ...], where B is at an axis of what has no N."""
    array = jnp.moveaxis(array, 0, axis)
    sizes = array.shape[axis] * array.shape[axis + 1]
    return array.reshape(*array.shape[:axis], sizes, *array.shape[axis + 2 :])


def _unmerged(array: jax.Array, axis: int, size: int) -> jax.Array:
    """Undo :func:`_merged`."""
    rows = array.shape[axis] // size
    array = array.reshape(*array.shape[:axis], size, rows, *array.shape[axis + 1 :])
    return jnp.moveaxis(array, axis, 0)


def _without_derivative(function: Callable) -> Callable:
    """Return a function that says what to do where JAX would differentiate the C++ code."""
    called = jax.custom_jvp(lambda *arrays: function(*arrays))

    @called.defjvp
    def refuse(primals: Any, tangents: Any) -> Any:
        raise JaxcharError(
            "the recurrence in C++ or CUDA (--implementation native or cuda) has first derivatives in "
            "reverse mode only; for second derivatives and forward mode give --implementation=scan"
        )

    return called

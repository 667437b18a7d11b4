"""The recurrent kernel as the CUDA kernels read it: each thread's fragments of tensor core products.

A fragment of ``mma.m16n8k16`` is a tile of 16 rows and 16 columns, of which each of a warp's 32 threads has
four pairs of numbers (PTX ISA, "Matrix Fragments for mma.m16n8k16"). What a thread reads is 16 bytes that lie
together, and a warp reads 512.
"""

import jax
import jax.numpy as jnp

from jaxchar.recurrence.cuda_plan import Plan


def packed(kernel: jax.Array, gates: int, plan: Plan, parts: int, *, transposed: bool) -> jax.Array:
    """Return a recurrent kernel in the order in which the threads read it.

    Args:
        kernel: [H, G] float32.
        gates: blocks of H columns.
        plan: how the layer is laid out.
        parts: bfloat16 numbers that each number becomes.
        transposed: for the product with its transpose, in the backward pass.

    Returns:
        [blocks, fragments, threads, 8] bfloat16.
    """
    size = len(kernel)
    missing = plan.padded - size
    whole = jnp.pad(kernel.reshape(size, gates, size), ((0, missing), (0, 4 - gates), (0, missing)))
    order = _backward if transposed else _forward
    tiles = order(jnp.stack(_split(whole, parts)), plan)
    return tiles.reshape(plan.blocks, plan.padded // 8 * parts, plan.threads, 8)


def _split(numbers: jax.Array, parts: int) -> list[jax.Array]:
    """Return bfloat16 numbers whose sum is a float32 number, to 8 bits for each of them."""
    found = []
    for _ in range(parts):
        found.append(_rounded(numbers))
        numbers = numbers - found[-1]
    return [part.astype(jnp.bfloat16) for part in found]


def _rounded(numbers: jax.Array) -> jax.Array:
    """Round to bfloat16, in float32. XLA may leave out a conversion there and back, but not this."""
    return jax.lax.reduce_precision(numbers, exponent_bits=8, mantissa_bits=7)


def _forward(parts: jax.Array, plan: Plan) -> jax.Array:
    """Rows of a tile are gate columns: eight units of one gate above the same units of the next."""
    # [part, (depth, k half, quarter, e), (tile, row half), (block, warp, group)]
    units = plan.padded // plan.blocks
    split = parts.reshape(len(parts), plan.padded // 16, 2, 4, 2, 2, 2, plan.blocks, units // 8, 8)
    return split.transpose(7, 1, 5, 0, 8, 9, 3, 2, 6, 4)


def _backward(parts: jax.Array, plan: Plan) -> jax.Array:
    """Rows of a tile are units, columns are the gate columns of a block's own units."""
    blocks, units = plan.blocks, plan.padded // plan.blocks
    number, tiles = len(parts), plan.padded // 16
    columns = parts.reshape(number, plan.padded, 4, blocks, units).transpose(0, 1, 3, 2, 4)
    if blocks == 1:  # two warps share a tile, and each has half of the columns
        # [part, (tile, row half, group), (half, depth, k half, quarter, e)]
        split = columns.reshape(number, tiles, 2, 8, 2, units // 8, 2, 4, 2)
        return split.transpose(5, 0, 1, 4, 3, 7, 6, 2, 8)
    # [part, (warp, tile, row half, group), block, (depth, k half, quarter, e)]
    split = columns.reshape(number, units // 8, blocks // 2, 2, 8, blocks, units // 4, 2, 4, 2)
    return split.transpose(5, 6, 2, 0, 1, 4, 8, 7, 3, 9)

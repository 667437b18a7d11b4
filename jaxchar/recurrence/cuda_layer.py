"""A recurrent layer in one CUDA kernel, see ``cuda/layer.cu``: forward, and its gradient.

The products with all time steps are JAX's, as in :mod:`jaxchar.recurrence.fused`; the loop over time is the
kernel. Letters as in :mod:`jaxchar.recurrence.unroll`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.recurrence import nvrtc
from jaxchar.recurrence.cells import (
    CELL_KINDS,
    Carry,
    Cell,
    HiddenCarry,
    LSTMCarry,
    hard_sigmoid,
    kernels_of,
    recurrent_bias_of,
)
from jaxchar.recurrence.cuda_plan import ROWS, capability_here, plan_of
from jaxchar.recurrence.cuda_weights import packed
from jaxchar.recurrence.native_batch import by_batch
from jaxchar.tracing import Numerics, numerics

# Numbers in bfloat16 that a factor of a product is the sum of, by the type or the precision of products.
PARTS = {"bfloat16": 1, "tf32": 2, "default": 2, "highest": 3}
KERNEL_AT = {"forward": 1, "backward": 0}  # place of the recurrent kernel [H, G] among the arguments


class Layer(NamedTuple):
    """What is known of a layer before it is compiled."""

    gates: int  # 4: an LSTM, 3: a GRU
    is_hard: bool  # gates are hard_sigmoid
    dtype: str  # of products
    parts: int  # see PARTS

    @property
    def keeps_memory(self) -> bool:
        """Whether the layer has a memory c beside its output h."""
        return self.gates == CELL_KINDS["lstm"].gate_blocks


def layer_of(cell: Cell) -> Layer | None:
    """Return what the kernels need to know of a cell; None for one that they do not compute."""
    gate_fn: Any = getattr(cell, "gate_fn", None)
    kind = next((name for name, kind in CELL_KINDS.items() if isinstance(cell, kind.flax_type)), "")
    dtype = str(jnp.dtype(cell.dtype or jnp.float32))
    if kind not in ("lstm", "gru") or gate_fn not in CELL_KINDS[kind].native_names:
        return None
    if dtype not in ("float32", "bfloat16") or (kind == "lstm" and recurrent_bias_of(cell) is not None):
        return None
    parts = PARTS[dtype if dtype == "bfloat16" else numerics().precision]
    return Layer(CELL_KINDS[kind].gate_blocks, gate_fn is hard_sigmoid, dtype, parts)


def unroll_cuda(
    cell: Cell, projected: jax.Array, carry: Carry, mask: jax.Array | None
) -> tuple[Carry, jax.Array]:
    """Run a cell over a sequence.

    Args:
        cell: for which :func:`layer_of` has a layer.
        projected: [T, B, G], the input product with the bias, see :func:`jaxchar.recurrence.fused.project`.
        carry: the state before the first step.
        mask: recurrent dropout, [B, H].

    Returns:
        As :func:`jaxchar.recurrence.unroll.unroll`.
    """
    layer = layer_of(cell)
    assert layer is not None, "callers ask layer_of first"
    _, kernel, _, bias = kernels_of(cell)
    state = carry.cell if isinstance(carry, LSTMCarry) else None
    given = projected, kernel.astype(jnp.float32), bias, state, carry.hidden, mask
    hiddens, state, hidden = run(layer, numerics(), *given)
    return (HiddenCarry(hidden) if state is None else LSTMCarry(state, hidden)), hiddens


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(
    layer: Layer,
    how: Numerics,
    projected: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    state: jax.Array | None,
    hidden: jax.Array,
    mask: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """Run a layer over time.

    Args:
        layer: what it is.
        how: how products are computed that are not in the kernel.
        projected: [T, B, G], the input product with the bias.
        kernel: [H, G] float32, of the recurrent product.
        bias: [G], added to the recurrent product of a GRU; None: there is none.
        state: [B, H], the memory before the first step; None for a GRU, which has none.
        hidden: [B, H], the output before the first step.
        mask: [B, H], on what the recurrent product sees, never trained; None for no dropout.

    Returns:
        The hidden states [T, B, H], the last memory (None for a GRU) and the last output.
    """
    return _run_forward(layer, how, projected, kernel, bias, state, hidden, mask)[0]


def _run_forward(layer, how, projected, kernel, bias, state, hidden, mask):
    hiddens, states, kept = _forward(layer, projected, kernel, bias, state, hidden, mask)
    residuals = kernel, bias, state, hidden, mask, hiddens, states, kept
    return (hiddens, None if state is None else states[-1], hiddens[-1]), residuals


def _run_backward(layer, how, residuals, cotangents):
    kernel, bias, state, hidden, mask, hiddens, states, kept = residuals
    first, following = (hidden, hiddens) if state is None else (state, states)
    d_hiddens, d_state, d_hidden = cotangents
    d_projected, d_state, d_hidden = _backward(
        layer, kernel, first, following, kept, d_hiddens, d_state, d_hidden, mask
    )
    d_recurrent = _of_recurrent_product(layer, d_projected, kept)
    before = jnp.concatenate([hidden[None], hiddens[:-1]])  # h_{t-1} beside d_projected_t
    seen = before if mask is None else before * mask
    rows, d_product = seen.astype(layer.dtype), d_recurrent.astype(layer.dtype)
    sums: Any = {"preferred_element_type": jnp.float32, "precision": how.of_products}
    d_kernel = jnp.einsum("tbh,tbg->hg", rows, d_product, **sums)
    d_bias = None if bias is None else d_recurrent.sum((0, 1))
    d_state = None if state is None else d_state
    d_mask = None if mask is None else jnp.zeros_like(mask)
    return d_projected, d_kernel, d_bias, d_state, d_hidden, d_mask


run.defvjp(_run_forward, _run_backward)


def _of_recurrent_product(layer: Layer, d_projected: jax.Array, kept: jax.Array) -> jax.Array:
    """Return the gradient of the recurrent product, [T, B, G]: a GRU's reset gate is on its third part."""
    if layer.keeps_memory:
        return d_projected
    size = d_projected.shape[-1] // layer.gates
    r = kept[..., :size]
    return jnp.concatenate([d_projected[..., : 2 * size], d_projected[..., 2 * size :] * r], axis=-1)


# ---- calls of the kernels ------------------------------------------------------------------------


def _or_empty(array: jax.Array | None, *shape: int) -> jax.Array:
    """Return an array, or one of a shape without numbers, which the kernel is not given."""
    return jnp.zeros(shape) if array is None else array


def _forward(layer, projected, kernel, bias, state, hidden, mask):
    """Return hiddens [T, B, H], states [T, B, H or 0], and [T, B, 4H] to differentiate by."""
    B = len(hidden)
    rule = "t b g, h g, c, b s, b h, b k -> t b h, t b s, t b a"
    arguments = projected, kernel, _or_empty(bias, 0), _or_empty(state, B, 0), hidden, _or_empty(mask, B, 0)
    return by_batch(_forward_here, rule, layer)(*arguments)


def _forward_here(layer, projected, kernel, bias, state, hidden, mask):
    (T, B, _), H = projected.shape, len(kernel)
    shapes = (T, B, H), (T, B, 4 * H), (T, B, state.shape[1])
    arguments = projected, kernel, state, hidden, mask, bias
    hiddens, kept, states = _call(layer, "forward", shapes, arguments, bool(mask.size), bool(bias.size))
    return hiddens, states, kept


def _backward(layer, kernel, first, following, kept, d_hiddens, d_state, d_hidden, mask):
    """Return the gradients of the projection, and of the first state and output."""
    B = len(d_hidden)
    rule = "h g, b h, t b h, t b a, t b h, b s, b h, b k -> t b g, b s, b h"
    arguments = kernel, first, following, kept, d_hiddens, _or_empty(d_state, B, 0), d_hidden
    return by_batch(_backward_here, rule, layer)(*arguments, _or_empty(mask, B, 0))


def _backward_here(layer, kernel, first, following, kept, d_hiddens, d_state, d_hidden, mask):
    (T, B, H), G = d_hiddens.shape, kernel.shape[1]
    shapes = (T, B, G), d_state.shape, (B, H)
    arguments = kernel, first, following, kept, d_hiddens, d_state, d_hidden, mask
    return _call(layer, "backward", shapes, arguments, bool(mask.size))


def _call(
    layer: Layer,
    kernel: nvrtc.Kernel,
    shapes: tuple[tuple[int, ...], ...],
    arguments: tuple[jax.Array, ...],
    is_masked: bool,
    is_biased: bool = False,
) -> tuple[jax.Array, ...]:
    """Call a kernel with the arrays that have numbers; return all results.

    Args:
        layer: what it is.
        kernel: its name.
        shapes: of the results, [T, B, ...] the first.
        arguments: all arrays, H rows in the recurrent kernel.
        is_masked: whether there is a mask among them.
        is_biased: whether there is a bias of the recurrent product.
    """
    weights = arguments[KERNEL_AT[kernel]]
    T, B, H = *shapes[0][:2], len(weights)
    plan = plan_of(H, layer.parts, capability_here())
    assert plan is not None, "callers ask cuda_plan.why_not first"
    macros = {"STEPS": T, "BATCH": B, "UNITS": H, "PADDED": plan.padded, "BLOCKS": plan.blocks}
    macros |= {"GATES": layer.gates, "PARTS": layer.parts, "HARD": int(layer.is_hard)}
    macros |= {"MASKED": int(is_masked), "BIASED": int(is_biased)}
    macros |= {"IN_REGISTERS": plan.in_registers, "SHARED_BYTES": plan.shared_bytes}
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes if np.prod(shape)]
    as_read = packed(weights, layer.gates, plan, layer.parts, transposed=kernel == "backward")
    given = [as_read if array is weights else array for array in arguments if array.size]
    found = iter(launch(kernel, tuple(macros.items()), results, given))
    return tuple(next(found) if np.prod(shape) else jnp.zeros(shape) for shape in shapes)


def launch(
    kernel: nvrtc.Kernel,
    macros: nvrtc.Macros,
    results: list[jax.ShapeDtypeStruct],
    arguments: list[jax.Array],
) -> Any:
    """Run a kernel on a card, compiled for these macros of ``cuda/layer.cu``; return its results."""
    of = dict(macros)
    slices = -(-of["BATCH"] // ROWS)
    call = jax.ffi.ffi_call("__gpu$xla.gpu.ptx", results)
    sizes = {
        "grid_x": slices * of["BLOCKS"],
        "grid_y": 1,
        "grid_z": 1,
        "block_x": 4 * of["PADDED"] // of["BLOCKS"],
        "block_y": 1,
        "block_z": 1,
        "shared_mem_bytes": of["SHARED_BYTES"],
    }
    ptx = nvrtc.compiled(kernel, macros)
    whole = {name: np.int32(size) for name, size in sizes.items()}
    return call(*arguments, name=kernel, kernel_type="ptx", kernel_data=ptx, **whole)

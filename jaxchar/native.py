"""The fused recurrence in C++ for processors: builds ``native.cc`` once, and calls it from JAX.

It needs a C++ compiler (``CXX``, or c++, g++ or clang++); without one, :mod:`jaxchar.unroll` does the same in
JAX. What is built is made for this kind of processor and kept in the cache folder.

Letters as in :mod:`jaxchar.unroll`: T time steps, B batch, D input features, H hidden size, G gate columns.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from jaxchar.devices import folder_for_compiled

SOURCE = Path(__file__).with_name("native.cc")
# Vectors for this very processor; divisions and comparisons may be done for lanes that are not used.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-trapping-math", "-shared", "-fPIC", "-w")
FUNCTIONS = ("jaxchar_forward", "jaxchar_backward", "jaxchar_table_gradient")


# ---- building ------------------------------------------------------------------------------------


def is_available() -> bool:
    """Whether JAX computes on a processor that the functions below can be built for."""
    return identity() != ""


def must_be_built() -> bool:
    """Whether the first use will take the seconds that a compiler needs."""
    return jax.default_backend() == "cpu" and _compiler() is not None and not _library().exists()


@functools.cache
def identity() -> str:
    """Build and load the library; return its digest, on which the last bits depend.

    Returns:
        Twelve characters; none where it cannot be had.
    """
    if jax.default_backend() != "cpu":
        return ""
    library = _library()
    try:
        if not library.exists():
            _build(library)
        functions = ctypes.CDLL(str(library))
        digest = hashlib.sha256(library.read_bytes()).hexdigest()[:12]
    except (OSError, subprocess.SubprocessError):  # a compiler that cannot do it, or no place for it
        return ""
    for name in FUNCTIONS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(functions, name)), platform="cpu")
    return digest


def _library() -> Path:
    recipe = [SOURCE.read_bytes(), " ".join(FLAGS).encode(), jax.lib.__version__.encode()]
    return folder_for_compiled() / f"native-{hashlib.sha256(b'|'.join(recipe)).hexdigest()[:12]}.so"


def _build(library: Path) -> None:
    compiler = _compiler()
    if compiler is None:
        raise FileNotFoundError("no C++ compiler")
    library.parent.mkdir(parents=True, exist_ok=True)
    # Under a name of its own until it is whole: another process may be building, too.
    with tempfile.TemporaryDirectory(dir=library.parent) as unfinished:
        built = Path(unfinished) / library.name
        command = [compiler, *FLAGS, "-isystem", jax.ffi.include_dir(), str(SOURCE), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True)
        built.replace(library)


def _compiler() -> str | None:
    """Return the user's C++ compiler: ``CXX``, or the first there is."""
    wanted = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((name for name in wanted if name and shutil.which(name)), None)


# ---- the recurrence ------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(
    cell: str,
    projected: jax.Array,
    kernel: jax.Array,
    state: jax.Array,
    hidden: jax.Array,
    mask: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Loop over time with the recurrent kernel.

    Args:
        cell: "lstm", "hard_lstm", "gru" or "hard_gru".
        projected: [T, B, G], the input half of every step's product, bias and all.
        kernel: [H, G].
        state: [B, H], the memory before the first step; [B, 0] for a GRU, which has none.
        hidden: [B, H], the output before the first step.
        mask: [B, H], on what the recurrent product sees; [B, 0] is none.

    Returns:
        The hidden states [T, B, H], and the last memory and the last output, as they came.
    """
    hiddens, states, _ = _forward(cell, projected, kernel, state, hidden, mask)
    return hiddens, states[-1], hiddens[-1]


def _recur_forward(cell, projected, kernel, state, hidden, mask):
    hiddens, states, saved = _forward(cell, projected, kernel, state, hidden, mask)
    return (hiddens, states[-1], hiddens[-1]), (kernel, state, hidden, mask, hiddens, states, saved)


def _recur_backward(cell, residuals, cotangents):
    kernel, state, hidden, mask, hiddens, states, saved = residuals
    own = _keeps_memory(cell)
    first, following = (state, states) if own else (hidden, hiddens)
    d_hiddens, d_state, d_hidden = cotangents
    d_projected, d_recurrent, d_state, d_hidden = _backward(
        cell, kernel, first, following, saved, d_hiddens, d_state, d_hidden, mask
    )
    before = jnp.concatenate([hidden[None], hiddens[:-1]])  # h_{t-1} beside d_recurrent_t
    if mask.size:
        before = before * mask
    d_kernel = kernel_gradient(before, d_projected if own else d_recurrent)
    return d_projected, d_kernel, d_state, d_hidden, jnp.zeros_like(mask)  # a mask is never trained


recur.defvjp(_recur_forward, _recur_backward)


def _keeps_memory(cell: str) -> bool:
    """Whether a cell has a memory beside its output; the gradients of its two products are then one."""
    return cell.endswith("lstm")


def _forward(cell, *arguments):
    """Return hiddens [T, B, H], states [T, B, H or 0], and the activations [T, B, 4H] to differentiate by."""
    return _by_batch(_forward_here, "t b g, h k, b s, b h, b m -> t b h, t b s, t b a", cell)(*arguments)


def _forward_here(cell, projected, kernel, state, hidden, mask):
    (T, B, _), H = projected.shape, kernel.shape[0]
    results = _floats((T, B, H), (T, B, state.shape[1]), (T, B, 4 * H))
    in_place = {0: 2} if _keeps_memory(cell) else {}  # the activations in the projections' place
    call = jax.ffi.ffi_call("jaxchar_forward", results, input_output_aliases=in_place)
    return tuple(call(projected, kernel, state, hidden, mask, cell=cell))


def _backward(cell, *arguments):
    """Return the gradients of projected, of the recurrent product, and of the first state and output."""
    rule = "h g, b h, t b h, t b a, t b h, b s, b h, b m -> t b g, t b r, b s, b h"
    return _by_batch(_backward_here, rule, cell)(*arguments)


def _backward_here(cell, kernel, first, following, saved, d_hiddens, d_state, d_hidden, mask):
    (T, B, H), G = d_hiddens.shape, kernel.shape[1]
    in_place, r = ({5: 2, 6: 3, 3: 0}, 0) if _keeps_memory(cell) else ({5: 2, 6: 3}, G)
    results = _floats((T, B, G), (T, B, r), d_state.shape, (B, H))
    call = jax.ffi.ffi_call("jaxchar_backward", results, input_output_aliases=in_place)
    return tuple(call(kernel, first, following, saved, d_hiddens, d_state, d_hidden, mask, cell=cell))


# ---- gradients that are sums over time and batch -------------------------------------------------


def kernel_gradient(rows: jax.Array, d_product: jax.Array) -> jax.Array:
    """Return the gradient [D, G] of a kernel that [T, B, D] rows were multiplied with."""
    return _by_batch(_kernel_gradient_here, "t b d, t b g -> d g")(rows, d_product)


def _kernel_gradient_here(rows, d_product):
    # Merging time and batch makes the fastest product, and would gather all rows if devices shared it. The
    # barrier makes XLA transpose the rows first, not while it multiplies.
    rows = lax.optimization_barrier(rows.reshape(-1, rows.shape[-1]).T)
    return rows @ d_product.reshape(-1, d_product.shape[-1])


def table_gradient(ids: jax.Array, d_rows: jax.Array, num_symbols: int) -> jax.Array:
    """Return the gradient [V, D] of a table that [T, B] ids looked up; ids outside of it add to its ends."""
    by_batch = _by_batch(_table_gradient_here, "t b, t b g -> v g", num_symbols)
    return by_batch(ids.astype(jnp.int32), d_rows)


def _table_gradient_here(num_symbols, ids, d_rows):
    (result,) = _floats((num_symbols, d_rows.shape[-1]))
    return jax.ffi.ffi_call("jaxchar_table_gradient", result)(ids, d_rows)


# ---- several devices -----------------------------------------------------------------------------


def _floats(*shapes: tuple[int, ...]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


@functools.cache
def _by_batch(function: Callable, rule: str, *first: Any) -> Callable:
    """Return a function that every device calls for its own rows of the batch.

    Args:
        function: takes and returns arrays, of as many rows as there are.
        rule: the axes of its arguments and results; "b" is split, and a result without it is summed up.
        first: what it takes before the arrays.
    """
    arguments, results = ([axes.split() for axes in side.split(", ")] for side in rule.split(" -> "))
    summed = "b" not in results[0]

    def partition(mesh, shapes, _):
        # No other axis than the batch may be split, see below.
        split = next((axis for shape in shapes for axis in shape.sharding.spec if axis is not None), None)

        def layout(axes):
            return NamedSharding(mesh, PartitionSpec(*(split if axis == "b" else None for axis in axes)))

        def on_one_device(*rows):
            result = function(*first, *rows)
            return lax.psum(result, split) if summed and split else result

        outcome = layout(results[0]) if summed else tuple(map(layout, results))
        return mesh, on_one_device, outcome, tuple(map(layout, arguments))

    whole = tuple(dict.fromkeys(axis for axes in (*arguments, *results) for axis in axes if axis != "b"))
    on_all = custom_partitioning(partial(function, *first))
    on_all.def_partition(
        partition,
        sharding_rule=rule,
        need_replication_factors=whole,
        reduction_factors=("b",) if summed else (),
    )
    return on_all

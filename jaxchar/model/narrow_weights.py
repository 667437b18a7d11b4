"""Recurrent weights of fewer bits, which write faster: for every character of a text all of them are read.

Each column of a kernel is stored as whole numbers times a scale (int8: -127 to 127, the largest weight of the
column is 127), or as the upper halves of its 32-bit numbers (bfloat16). The first layer's inputs and the head
stay as they are: a character reads one row of the former, and the latter decides between characters.
"""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.config import Weights
from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.params import Params

MOST_INT8 = 127


def check_weights(kind: object) -> None:
    """Raise a JaxcharError for what is no kind of weights."""
    if kind not in get_args(Weights):
        raise JaxcharError(f"weights must be one of {', '.join(get_args(Weights))}, but it is {quoted(kind)}")


def narrow(kernel: jax.Array, kind: Weights) -> tuple[jax.Array, jax.Array]:
    """Return a kernel of fewer bits, and its scales.

    Args:
        kernel: [rows, columns] float32.
        kind: of the numbers.

    Returns:
        [rows, columns] of that type, and what each column is to be multiplied by, [columns] float32; for
        float32 nothing, [0].
    """
    columns = kernel.shape[1]
    match kind:
        case "float32":
            return kernel, jnp.zeros(0)
        case "bfloat16":
            return kernel.astype(jnp.bfloat16), jnp.ones(columns)
        case "int8":
            largest = jnp.max(jnp.abs(kernel), axis=0)
            scales = jnp.where(largest > 0, largest / MOST_INT8, 1.0)
            whole = jnp.clip(jnp.round(kernel / scales), -MOST_INT8, MOST_INT8)
            return whole.astype(jnp.int8), scales


def rounded_params(params: Params, kind: Weights) -> Params:
    """Return parameters whose recurrent weights are what fewer bits make of them; the given ones stay.

    Rounded once more, they stay as they are.

    Args:
        params: as of ``model.params``.
        kind: of the numbers.
    """
    rounded = jax.tree.map(np.asarray, params)
    for number, layer in enumerate(rounded["layers"]):
        for name in ("recurrent_kernel", *(("input_kernel",) if number else ())):
            numbers, scales = narrow(jnp.asarray(layer[name]), kind)
            if len(scales):
                layer[name] = np.asarray(numbers.astype(jnp.float32) * scales)
    return rounded

"""Weights in and out of Flax's cells, for the baselines that are made of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxchar.benchmark.data import Weights

# Of JAX's products. Its own "tensorfloat32" is a wish that XLA answers with float32 on NVIDIA cards.
PRECISIONS = {"float32": "highest", "tf32": "TF32_TF32_F32", "bfloat16": "default"}


def set_precision(dtype: str) -> None:
    """Let JAX multiply as ``dtype`` says, from now on."""
    jax.config.update("jax_default_matmul_precision", PRECISIONS[dtype])


def module_dtype(dtype: str) -> jnp.dtype:
    """Return the dtype that Flax's modules should multiply in."""
    return jnp.dtype("bfloat16" if dtype == "bfloat16" else "float32")


def _named(cells: Sequence[Any], head: nnx.Linear) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, cell in enumerate(cells, start=1):
        named[f"input {number}"] = cell.dense_i.kernel
        named[f"recurrent {number}"] = cell.dense_h.kernel
        named[f"bias {number}"] = cell.dense_h.bias
    return named | {"head": head.kernel, "head bias": head.bias}


def give_weights(cells: Sequence[Any], head: nnx.Linear, weights: Weights) -> None:
    """Put weights into modules."""
    for name, param in _named(cells, head).items():
        param[...] = jnp.asarray(weights[name])


def weights_of(cells: Sequence[Any], head: nnx.Linear) -> Weights:
    """Return what modules hold: weights, or their gradient put in their place."""
    return {name: np.asarray(param[...]) for name, param in _named(cells, head).items()}

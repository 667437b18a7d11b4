"""A model as JAX transforms it: its structure, and its parameters as a pytree."""

import functools

import jax
from flax import nnx

from jaxchar.ambient import pinned
from jaxchar.config import ModelConfig, part_of
from jaxchar.model.char_rnn import CharRNN
from jaxchar.own_cells import RegisteredCell, own_cell
from jaxchar.randomness import INIT_KEY, purpose_key


@pinned()
def split_model(
    config: ModelConfig, vocab_size: int, seed: int | jax.Array = 0
) -> tuple[nnx.GraphDef, nnx.State]:
    """Return the structure of the model and its first parameters, drawn from the seed."""
    model = CharRNN(config, vocab_size, rngs=nnx.Rngs(purpose_key(seed, INIT_KEY)))
    return nnx.split(model)


def model_structure(config: ModelConfig, vocab_size: int) -> tuple[nnx.GraphDef, nnx.State]:
    """Return the structure of the model, and shapes and types in place of its parameters."""
    graphdef, params = _structure(part_of(config, ModelConfig), vocab_size, own_cell(config.cell))
    return graphdef, jax.tree.map(lambda shape: shape, params)  # a tree of the caller's own


@functools.lru_cache(16)
@pinned()
def _structure(
    config: ModelConfig, vocab_size: int, _cell: RegisteredCell | None
) -> tuple[nnx.GraphDef, nnx.State]:
    """Trace the model, once for all texts of one number of symbols."""
    return jax.eval_shape(lambda: split_model(config, vocab_size))

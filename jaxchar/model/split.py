"""A model as JAX transforms it: its structure, and its parameters as a pytree."""

import jax
from flax import nnx

from jaxchar.ambient import pinned
from jaxchar.config import Config
from jaxchar.model.char_rnn import CharRNN
from jaxchar.randomness import INIT_KEY, purpose_key


@pinned()
def split_model(config: Config, vocab_size: int) -> tuple[nnx.GraphDef, nnx.State]:
    """Return the structure of the model and its first parameters, drawn from the seed."""
    model = CharRNN(config, vocab_size, rngs=nnx.Rngs(purpose_key(config.seed, INIT_KEY)))
    return nnx.split(model)


@pinned()
def model_structure(config: Config, vocab_size: int) -> tuple[nnx.GraphDef, nnx.State]:
    """Return the structure of the model, and shapes and types in place of its parameters."""
    return jax.eval_shape(lambda: split_model(config, vocab_size))

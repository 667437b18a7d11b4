"""min_gru: a cell of one's own, the minimal GRU of Feng et al. 2024, "Were RNNs All We Needed?".

    z = sigmoid(x W_z + b_z),  n = x W_n + b_n,  h' = (1 - z) h + z n

Gate and candidate see the input alone, not the state, so depth does what the recurrence does not: three
layers. The cell is a class with two methods; it trains, resumes and writes like the built-in ones. Import
this module before you load its models: ``import experiments.min_gru``.
"""

from typing import Any

import jax
import jax.numpy as jnp

import jaxchar
from jaxchar.config import Config
from jaxchar.train import main


class MinGRU:
    """The equations above. B batch, D features, H hidden size."""

    def init(self, key: jax.Array, features: int, hidden_size: int) -> dict[str, jax.Array]:
        """Return kernel [D, 2H] and bias [2H], the columns of z first."""
        kernel = jax.random.normal(key, (features, 2 * hidden_size)) / jnp.sqrt(features)
        # Gates that begin almost closed remember for about seven characters.
        bias = jnp.concatenate([jnp.full(hidden_size, -2.0), jnp.zeros(hidden_size)])
        return {"kernel": kernel, "bias": bias}

    def step(self, params: dict[str, jax.Array], carry: Any, inputs: jax.Array) -> Any:
        """Return the state [B, H] after one more character, from inputs [B, D]."""
        z, n = jnp.split(inputs @ params["kernel"] + params["bias"], 2, axis=-1)
        z = jax.nn.sigmoid(z)
        return carry._replace(hidden=(1 - z) * carry.hidden + z * n)


jaxchar.register_cell("min_gru", MinGRU())

CONFIG = Config(
    corpus="shakespeare",
    cell="min_gru",
    hidden_size=256,
    num_layers=3,
    embedding_size=64,
    batch_size=32,
    seq_len=128,
    dropout=0.1,
    learning_rate=4e-3,
    schedule="cosine",
    warmup_steps=100,
    epochs=4,
    sample_temperatures=(0.8,),
)

if __name__ == "__main__":
    main(CONFIG, "min_gru")

"""A network as the parameters of our model, and the reverse."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxchar.ambient import pinned
from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.interchange.network import Layer, Network, known_cell
from jaxchar.model.split import model_structure


@pinned()
def to_params(network: Network, config: Config) -> nnx.State:
    """Return a network as the parameters of the model that ``config`` describes."""
    _, structure = model_structure(config, network.vocab_size)
    arrays = _named(network, config)
    leaves = []
    for name, like in named_leaves(structure).items():
        if arrays[name].shape != like.shape:
            raise JaxcharError(f"{name} is of shape {list(arrays[name].shape)}, expected {list(like.shape)}")
        leaves.append(jnp.asarray(arrays[name], like.dtype))
    return jax.tree.unflatten(jax.tree.structure(structure), leaves)


def _named(network: Network, config: Config) -> dict[str, np.ndarray]:
    """Return a network's arrays by the names of our parameters."""
    arrays = {"head.bias": network.head_bias}
    if network.embedding is not None:
        arrays["embedding.embedding"] = network.embedding
    if network.projection is None:
        arrays["head.kernel"] = network.head
    else:
        arrays["head.projection.kernel"] = network.projection
    for number, layer in enumerate(network.layers):
        name = f"cells.{number}"
        arrays[f"{name}.dense_i.kernel"] = layer.inputs
        arrays[f"{name}.dense_h.kernel"] = layer.recurrent
        arrays[f"{name}.{'dense_h' if layer.cell == 'lstm' else 'dense_i'}.bias"] = layer.bias
        if config.recurrent_bias:
            second = layer.recurrent_bias
            arrays[f"{name}.dense_h.bias"] = np.zeros_like(layer.bias) if second is None else second
    return arrays


def from_params(params: nnx.State, config: Config) -> Network:
    """Return the network of a model's parameters."""
    cell = known_cell(config.cell)
    arrays = {name: np.asarray(leaf, np.float32) for name, leaf in named_leaves(params).items()}
    embedding, projection = arrays.get("embedding.embedding"), arrays.get("head.projection.kernel")
    layers = []
    for number in range(len(config.layer_sizes)):
        name = f"cells.{number}"
        layers.append(
            Layer(
                name=f"layers.{number}",
                cell=cell,
                gate=None if config.cell == "rnn" else config.gate,
                inputs=arrays[f"{name}.dense_i.kernel"],
                recurrent=arrays[f"{name}.dense_h.kernel"],
                bias=arrays[f"{name}.{'dense_h' if config.cell == 'lstm' else 'dense_i'}.bias"],
                recurrent_bias=arrays[f"{name}.dense_h.bias"] if config.recurrent_bias else None,
            )
        )
    if projection is None:
        head = arrays["head.kernel"]
    else:
        assert embedding is not None
        head = embedding.T
    return Network(embedding, tuple(layers), head, arrays["head.bias"], projection)

"""A network as plain arrays, which every reader makes and every writer takes; to and from our parameters.

Letters: V symbols, D features, H hidden size, G gate columns. A kernel's blocks are in our order: i, f, g, o
for the LSTM and r, z, n for the GRU, see :mod:`jaxchar.recurrence.cells`. All arrays are float32.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError, quoted
from jaxchar.recurrence.cells import GATE_BLOCKS

CellName = Literal["lstm", "gru", "rnn"]
Gate = Literal["sigmoid", "hard_sigmoid"]

IN_WORDS = {"lstm": "an LSTM", "gru": "a GRU", "rnn": "a simple RNN"}


class Layer(NamedTuple):
    """A recurrent layer."""

    name: str  # in its file, for messages
    cell: CellName
    gate: Gate | None  # None: the file does not say, or the cell has no gates
    inputs: np.ndarray  # [D, G]
    recurrent: np.ndarray  # [H, G]
    bias: np.ndarray  # [G]
    recurrent_bias: np.ndarray | None = None  # [G], of a GRU that has two

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.recurrent.shape[0]


class Network(NamedTuple):
    """Characters to logits."""

    embedding: np.ndarray | None  # [V, D]; None: one-hot rows
    layers: tuple[Layer, ...]
    head: np.ndarray  # [H, V]; with a projection, [D, V], the embedding transposed
    head_bias: np.ndarray  # [V]
    projection: np.ndarray | None = None  # [H, D], where the head shares the embedding

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.head_bias)


# ---- from a file's arrays ------------------------------------------------------------------------


def check(network: Network) -> Network:
    """Return a network whose parts fit each other.

    Raises:
        JaxcharError: they do not; the message names the layer.
    """
    if not network.layers:
        raise JaxcharError("it has no recurrent layer; a model must have an LSTM, a GRU or a simple RNN")
    features = network.vocab_size
    if network.embedding is not None:
        rows, columns = network.embedding.shape
        if rows != features:
            raise JaxcharError(
                f"its embedding has {rows:,} rows, but its last layer predicts {features:,} symbols"
            )
        features = columns
    first = network.layers[0]
    for layer in network.layers:
        _check_layer(layer, features)
        if layer.cell != first.cell:
            raise JaxcharError(
                f"layer {quoted(layer.name)} is {IN_WORDS[layer.cell]}, but {quoted(first.name)} is "
                f"{IN_WORDS[first.cell]}; all layers must be of one kind"
            )
        if layer.gate != first.gate:
            raise JaxcharError(
                f"layer {quoted(layer.name)} has the gate function {layer.gate}, but {quoted(first.name)} "
                f"has "
                f"{first.gate}; all layers must have the same"
            )
        features = layer.hidden_size
    if network.projection is None and network.head.shape != (features, network.vocab_size):
        raise JaxcharError(
            f"its last layer has weights of shape {list(network.head.shape)}, but {features:,} hidden "
            f"units and "
            f"{network.vocab_size:,} symbols need {[features, network.vocab_size]}"
        )
    return network


def _check_layer(layer: Layer, features: int) -> None:
    """Raise a JaxcharError where a layer's arrays do not fit each other, or what it reads."""
    size, columns = layer.recurrent.shape[0], GATE_BLOCKS[layer.cell] * layer.recurrent.shape[0]
    expected = {"input": (features, columns), "recurrent": (size, columns), "bias": (columns,)}
    found = {"input": layer.inputs.shape, "recurrent": layer.recurrent.shape, "bias": layer.bias.shape}
    if layer.recurrent_bias is not None:
        expected["second bias"], found["second bias"] = (columns,), layer.recurrent_bias.shape
    for name in expected:
        if found[name] != expected[name]:
            raise JaxcharError(
                f"layer {quoted(layer.name)}, {IN_WORDS[layer.cell]} of {size:,} units that reads "
                f"{features:,} "
                f"numbers, has {name} weights of shape {list(found[name])}, expected {list(expected[name])}"
            )


def floats(array: Any, name: str) -> np.ndarray:
    """Return an array as float32.

    Raises:
        JaxcharError: it holds no floating-point numbers, or none that float32 can hold.
    """
    given = np.asarray(array)
    if given.dtype.kind != "f" and given.dtype.name != "bfloat16":
        raise JaxcharError(f"{quoted(name)} is of type {given.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.ascontiguousarray(given, np.float32)
    if not np.isfinite(numbers).all():
        raise JaxcharError(f"{quoted(name)} holds numbers that are not finite in float32")
    return numbers


def blocks_in_order(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Return an array with the blocks of its last axis in another order: new block k is old order[k]."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[position] for position in order], axis=-1)


def with_two_biases(layer: Layer, second: np.ndarray) -> Layer:
    """Return a layer with another bias, [G], on its recurrent product; as one bias where that is the same."""
    if not second.any():
        return layer
    size = layer.hidden_size
    if layer.cell == "gru" and second.shape == layer.bias.shape and second[2 * size :].any():
        return layer._replace(recurrent_bias=second)
    return layer._replace(bias=layer.bias + second if layer.bias.any() else second)


def soft_to_ours(layer: Layer, slope: float) -> Layer:
    """Return a layer with our hard sigmoid in place of ``clip(slope x + 0.5, 0, 1)``: the same function.

    What the gates see is scaled by slope / 0.2; what the tanh sees stays.
    """
    factor = np.float32(slope / 0.2)
    size = layer.hidden_size
    scale = np.full(layer.recurrent.shape[1], factor)
    candidate = 2 * size  # block g of i, f, g, o, and n of r, z, n
    scale[candidate : candidate + size] = 1
    second = None if layer.recurrent_bias is None else layer.recurrent_bias * scale
    return layer._replace(
        gate="hard_sigmoid",
        inputs=layer.inputs * scale,
        recurrent=layer.recurrent * scale,
        bias=layer.bias * scale,
        recurrent_bias=second,
    )


# ---- vocabulary ----------------------------------------------------------------------------------


def in_code_point_order(network: Network, symbols: Sequence[str]) -> tuple[Network, Vocabulary]:
    """Return a network whose ids are those of our vocabulary, and the vocabulary.

    Args:
        network: any.
        symbols: [V] distinct characters in the order of the network's ids.
    """
    vocabulary = Vocabulary("".join(symbols))
    if len(symbols) != network.vocab_size:
        raise JaxcharError(
            f"the model has {network.vocab_size:,} symbols, but the vocabulary has {len(symbols):,}; give "
            f"the "
            "vocabulary that it was trained with"
        )
    order = np.argsort(vocabulary.encode("".join(symbols)))
    embedding, layers = network.embedding, network.layers
    if embedding is not None:
        embedding = embedding[order]
    else:
        layers = (layers[0]._replace(inputs=layers[0].inputs[order]), *layers[1:])
    head = network.head[:, order]
    return network._replace(
        embedding=embedding, layers=layers, head=head, head_bias=network.head_bias[order]
    ), vocabulary


# ---- our parameters ------------------------------------------------------------------------------


def model_settings(network: Network, gate: Gate | None) -> dict[str, Any]:
    """Return the settings of ModelConfig that a network has.

    Args:
        network: any.
        gate: the gate function, where the file does not say it.
    """
    sizes = [layer.hidden_size for layer in network.layers]
    same = len(set(sizes)) == 1
    first = network.layers[0]
    return {
        "cell": first.cell,
        "hidden_size": sizes[0] if same else tuple(sizes),
        "num_layers": len(sizes) if same else 1,
        "embedding_size": 0 if network.embedding is None else network.embedding.shape[1],
        "tie_embeddings": network.projection is not None,
        "gate": first.gate or gate or "sigmoid",
        "recurrent_bias": any(layer.recurrent_bias is not None for layer in network.layers),
    }


def known_cell(name: str) -> CellName:
    """Return the name of a cell that other frameworks have, too.

    Raises:
        JaxcharError: it is a cell of one's own.
    """
    for known in get_args(CellName):
        if name == known:
            return known
    raise JaxcharError(
        f"the cell must be one of {', '.join(get_args(CellName))} to be written for other programs, but it "
        f"is {quoted(name)}, a cell of its author's own; keep the checkpoint"
    )


def untied(network: Network) -> Network:
    """Return a network with a head of its own, for frameworks whose layers share no weights."""
    if network.projection is None:
        return network
    return network._replace(head=network.projection @ network.head, projection=None)

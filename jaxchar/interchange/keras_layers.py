"""The layers of Keras 1, 2 and 3, with their settings and arrays, as a network.

Keras has the LSTM's blocks as i, f, c, o (ours: i, f, g, o) and the GRU's as z, r, h (ours: r, z, n).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxchar.errors import JaxcharError, quoted
from jaxchar.interchange.network import (
    CellName,
    Gate,
    Layer,
    Network,
    blocks_in_order,
    check,
    floats,
    soft_to_ours,
    with_two_biases,
)

CELLS: dict[str, CellName] = {
    "LSTM": "lstm",
    "CuDNNLSTM": "lstm",
    "GRU": "gru",
    "CuDNNGRU": "gru",
    "SimpleRNN": "rnn",
}
# What does nothing outside of training.
IDLE = frozenset(
    (
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "InputLayer",
        "SpatialDropout1D",
    )
)
DENSE = ("Dense", "TimeDistributedDense")
KERAS_GRU_ORDER = (1, 0, 2)  # of z, r, h to make r, z, n
KERAS_1_GATES = "ifco"  # of the LSTM's arrays that Keras 1 keeps one a gate
KERAS_3_SLOPE = 1 / 6  # of its hard sigmoid


class KerasLayer(NamedTuple):
    """A layer as its file describes it."""

    name: str
    kind: str  # the class's name
    settings: dict[str, Any] | None  # None: the file has weights alone
    arrays: dict[str, np.ndarray]  # by the last part of their names: kernel, recurrent_kernel, bias; W_i, ...


class Found(NamedTuple):
    """A network, and what its file says of how it is used."""

    network: Network
    origin: str  # of which framework, and which version
    seq_len: int | None = None  # T, where the file says it
    return_sequences: bool | None = None  # whether every step predicts, where the file says it
    stateful: bool | None = None  # whether the state is carried on, where the file says it
    hard_slope: float = 0.2  # of the hard sigmoid of its framework
    usual_gate: Gate | None = None  # of its framework, where the file does not say the gate function


def network_of(layers: Sequence[KerasLayer], origin: str, keras: int | None) -> Found:
    """Return the network of a chain of layers.

    Args:
        layers: first to last.
        origin: for people.
        keras: the version of Keras, its first number; None: the file does not say. Before Keras 2, the gates
            had a hard sigmoid unless told otherwise; later versions differ.

    Raises:
        JaxcharError: a layer is of another kind than a character model has; the message names it.
    """
    embedding, head = None, None
    recurrent: list[Layer] = []
    described: list[dict[str, Any]] = []
    for layer in map(_unwrapped, layers):
        if layer.kind in IDLE:
            continue
        if layer.kind in ("Activation", "Softmax") and head is not None:
            _check_output(layer)
        elif head is not None:
            raise _misfit(layer, "comes after the dense layer, which must be the last")
        elif layer.kind == "Embedding" and not recurrent and embedding is None:
            _require(layer, "mask_zero", (False, None))
            embedding = _array(layer, "embeddings", "W")
        elif layer.kind in CELLS:
            if described and described[-1].get("return_sequences") is False:
                raise _misfit(layer, "reads only the last state of the layer before it, which ours cannot")
            recurrent.append(_recurrent(layer, keras))
            described.append(layer.settings or {})
        elif layer.kind in DENSE and recurrent:
            _check_output(layer)
            head = _dense(layer)
        else:
            raise _misfit(
                layer,
                "has no counterpart; a model is an Embedding or one-hot input, layers of LSTM, GRU or "
                "SimpleRNN, "
                "and one Dense",
            )
    if head is None:
        raise JaxcharError("it has no Dense layer after the recurrent ones, so it predicts no characters")
    network = check(Network(embedding, tuple(recurrent), *head))
    last = described[-1] if described else {}
    return Found(
        network,
        origin,
        _time_steps([layer.settings or {} for layer in layers]),
        last.get("return_sequences") if isinstance(last.get("return_sequences"), bool) else None,
        last.get("stateful") if isinstance(last.get("stateful"), bool) else None,
        KERAS_3_SLOPE if keras == 3 else 0.2,
        "hard_sigmoid" if keras in (0, 1) and network.layers[0].cell != "rnn" else None,
    )


# ---- one layer -----------------------------------------------------------------------------------


def _unwrapped(layer: KerasLayer) -> KerasLayer:
    """Return the layer inside TimeDistributed, which applies it at every step as ours is."""
    if layer.kind != "TimeDistributed" or layer.settings is None:
        return layer
    inner = layer.settings.get("layer")
    if not isinstance(inner, dict) or inner.get("class_name") not in ("Dense", "Activation", "Dropout"):
        raise _misfit(layer, "may hold a Dense layer alone")
    return KerasLayer(layer.name, inner["class_name"], inner.get("config") or {}, layer.arrays)


def _recurrent(layer: KerasLayer, keras: int | None) -> Layer:
    cell = CELLS[layer.kind]
    _require(layer, "activation", ("tanh", None))
    for name in ("go_backwards", "time_major"):
        _require(layer, name, (False, None))
    if layer.kind.startswith("CuDNN"):
        return _cudnn(layer, cell)
    if "W_i" in layer.arrays:
        inputs, recurrent, bias = (_keras_1_gates(layer, part) for part in "WUb")
    elif cell == "gru" and "W_z" in layer.arrays:
        raise _misfit(layer, RESET_BEFORE)
    else:
        inputs = _array(layer, "kernel", "W")
        recurrent = _array(layer, "recurrent_kernel", "U")
        bias = _bias(layer, recurrent.shape[-1])
    if cell == "gru":
        return _gru(layer, inputs, recurrent, bias, keras)
    return _with_gate(Layer(layer.name, cell, None, inputs, recurrent, bias), layer, keras)


RESET_BEFORE = (
    "applies the reset gate before the recurrent product (reset_after=False, as Keras 1 and 2 do unless told "
    "otherwise), and ours applies it after, which is another function; train it with reset_after=True"
)


def _gru(
    layer: KerasLayer, inputs: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, keras: int | None
) -> Layer:
    settings = layer.settings
    is_after = (
        bias.ndim == 2 if settings is None or "b" in layer.arrays else settings.get("reset_after", False)
    )
    if not is_after:
        raise _misfit(layer, RESET_BEFORE)
    first, second = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    inputs, recurrent, first, second = (
        blocks_in_order(array, KERAS_GRU_ORDER) if array.shape[-1] % 3 == 0 else array
        for array in (inputs, recurrent, first, second)
    )
    ours = with_two_biases(Layer(layer.name, "gru", None, inputs, recurrent, first), second)
    return _with_gate(ours, layer, keras)


def _with_gate(ours: Layer, layer: KerasLayer, keras: int | None) -> Layer:
    """Return a layer with the gate function that its settings name."""
    if ours.cell == "rnn" or layer.settings is None:
        return ours
    default = "hard_sigmoid" if "inner_activation" in layer.settings or keras == 1 else "sigmoid"
    found = layer.settings.get("inner_activation", layer.settings.get("recurrent_activation", default))
    gate = _function(found)
    if gate == "hard_sigmoid" and keras == 3:
        return soft_to_ours(ours, KERAS_3_SLOPE)
    if gate == "sigmoid":
        return ours._replace(gate="sigmoid")
    if gate == "hard_sigmoid":
        return ours._replace(gate="hard_sigmoid")
    raise _misfit(layer, f"has the gate function {quoted(found)}; ours are sigmoid and hard_sigmoid")


def _keras_1_gates(layer: KerasLayer, part: str) -> np.ndarray:
    """Return W, U or b of an LSTM of Keras 1, which keeps an array for each gate."""
    arrays = [_array(layer, f"{part}_{gate}") for gate in KERAS_1_GATES]
    blocks = [arrays[0], arrays[1], arrays[2], arrays[3]]
    if len({block.shape for block in blocks}) != 1:
        raise _misfit(layer, f"has gates of different shapes: {[list(block.shape) for block in blocks]}")
    return np.concatenate(blocks, axis=-1)


def _cudnn(layer: KerasLayer, cell: CellName) -> Layer:
    """Return a layer of Keras 2's CuDNNLSTM or CuDNNGRU: kernels laid out another way, two biases."""
    count = 4 if cell == "lstm" else 3
    kernel, recurrent, bias = (_array(layer, name) for name in ("kernel", "recurrent_kernel", "bias"))
    size = recurrent.shape[0]
    if kernel.ndim != 2 or recurrent.shape != (size, count * size) or bias.shape != (2 * count * size,):
        raise _misfit(layer, f"has a bias of shape {list(bias.shape)}, expected {[2 * count * size]}")
    if kernel.shape[1] != count * size:
        raise _misfit(layer, f"has a kernel of shape {list(kernel.shape)}")
    inputs = np.hstack([part.T.reshape(part.shape, order="F") for part in np.hsplit(kernel, count)])
    hidden = np.hstack([part.T for part in np.hsplit(recurrent, count)])
    order = KERAS_GRU_ORDER if cell == "gru" else range(4)
    inputs, hidden, first, second = (blocks_in_order(a, order) for a in (inputs, hidden, *np.split(bias, 2)))
    return with_two_biases(Layer(layer.name, cell, "sigmoid", inputs, hidden, first), second)


def _dense(layer: KerasLayer) -> tuple[np.ndarray, np.ndarray]:
    kernel = _array(layer, "kernel", "W")
    return kernel, _bias(layer, kernel.shape[-1])


def _bias(layer: KerasLayer, size: int) -> np.ndarray:
    if "bias" in layer.arrays or "b" in layer.arrays:
        return _array(layer, "bias", "b")
    return np.zeros(size, np.float32)


def _array(layer: KerasLayer, *names: str) -> np.ndarray:
    """Return the first of these arrays that a layer has, as float32."""
    for name in names:
        if name in layer.arrays:
            array = floats(layer.arrays[name], f"{layer.name}/{name}")
            if not array.ndim:
                raise _misfit(layer, f"has a single number as {name}")
            return array
    raise _misfit(layer, f"has no array {names[0]}, only {sorted(layer.arrays)}")


# ---- settings ------------------------------------------------------------------------------------


def _function(value: Any) -> Any:
    """Return the name of a function that is given by name, or as Keras 3 writes an object."""
    if isinstance(value, dict):
        return _function(
            value.get("config") if isinstance(value.get("config"), str) else value.get("class_name")
        )
    return value.lower() if isinstance(value, str) else value


def _require(layer: KerasLayer, name: str, allowed: tuple[Any, ...]) -> None:
    """Raise a JaxcharError where a setting of a layer is none of what ours does."""
    value = _function((layer.settings or {}).get(name))
    if value not in allowed:
        raise _misfit(layer, f"has {name}={quoted(value)}, and ours can only be {quoted(allowed[0])}")


def _check_output(layer: KerasLayer) -> None:
    settings = layer.settings or {}
    function = _function(settings.get("activation"))
    if layer.kind != "Softmax" and function not in ("softmax", "linear", None):
        raise _misfit(
            layer, f"has the activation {quoted(function)}; the last layer must have softmax or none"
        )


def _time_steps(settings: Sequence[dict[str, Any]]) -> int | None:
    """Return how many time steps the input has, where a layer says it."""
    for described in settings:
        for name in ("batch_input_shape", "batch_shape"):
            shape = described.get(name)
            if isinstance(shape, list) and len(shape) >= 2:
                return shape[1] if _is_count(shape[1]) else None
        if _is_count(described.get("input_length")):
            return described["input_length"]
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _misfit(layer: KerasLayer, why: str) -> JaxcharError:
    return JaxcharError(f"layer {quoted(layer.name)} ({quoted(layer.kind)[1:-1]}) {why}")

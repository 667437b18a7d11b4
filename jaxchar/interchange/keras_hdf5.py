"""Models of Keras 1 and 2, and of Keras 3's older format, from HDF5: ``model.save``, ``model.save_weights``.

/                   attributes: model_config (JSON), keras_version; of weights alone: as model_weights
/model_weights      attribute: layer_names
/model_weights/NAME attribute: weight_names, the paths of the layer's arrays, in their order

Keras 0.3 and older wrote the weights alone, without a name: /layer_0/param_0, /layer_0/param_1, ...
"""

import json
import re
from itertools import count, takewhile
from typing import Any

from jaxchar.errors import JaxcharError, quoted
from jaxchar.interchange.hdf5 import Hdf5Group
from jaxchar.interchange.keras_description import described_layers
from jaxchar.interchange.keras_layers import Found, KerasLayer, network_of

# The last part of an array's name: lstm_1_W_i, lstm_1/kernel:0, lstm/lstm_cell/recurrent_kernel.
PART = re.compile(
    r"(?:^|[_/])(recurrent_kernel|kernel|bias|embeddings|[WUb](?:_[ifcozrh])?)(?:_\d+)?(?::\d+)?$"
)
# Of arrays whose names say nothing, by their number in a layer.
IN_ORDER = {
    1: ("embeddings",),
    2: ("kernel", "bias"),
    3: ("kernel", "recurrent_kernel", "bias"),
    9: tuple(f"{part}_{gate}" for gate in "zrh" for part in "WUb"),
    12: tuple(f"{part}_{gate}" for gate in "icfo" for part in "WUb"),
}


def read_keras_hdf5(root: Hdf5Group) -> Found:
    """Return the network of a file.

    Raises:
        JaxcharError: it is not of Keras, or a layer does not fit.
    """
    weights = root.group("model_weights") if root.has("model_weights") else root
    names = weights.texts("layer_names")
    if names is None and root.has("layer_0"):
        return network_of(_unnamed_layers(root), "Keras 0", 0)
    if names is None:
        raise JaxcharError("the file is HDF5, but not of a Keras model: it has no layer_names")
    version = root.text("keras_version") or weights.text("keras_version")
    arrays = {name: _arrays(weights.group(name), name) for name in names}
    description = root.text("model_config")
    if description is None:
        layers = [_guessed(name, found) for name, found in arrays.items() if found]
    else:
        layers = [
            KerasLayer(name, kind, settings, arrays.get(name, {}))
            for name, kind, settings in described_layers(json.loads(description))
        ]
    is_first = version is None and any("W" in found or "W_i" in found for found in arrays.values())
    keras = 1 if is_first else _major(version)
    return network_of(layers, f"Keras {version or keras or ''}".strip(), keras)


def _major(version: str | None) -> int | None:
    """Return the first number of a version."""
    found = re.match(r"\d{1,3}", version or "")
    return int(found[0]) if found else None


def _arrays(group: Hdf5Group, layer: str) -> dict[str, Any]:
    """Return the arrays of a layer by the last part of their names."""
    paths = group.texts("weight_names") or []
    parts: list[str] = []
    for path in paths:
        found = PART.search(path)
        parts.append(found[1] if found else "")
    if len(set(parts)) < len(parts) or "" in parts:
        parts = _parts_in_order(len(parts), layer)
    return {part: group.array(path) for part, path in zip(parts, paths, strict=True)}


def _parts_in_order(number: int, layer: str) -> list[str]:
    """Return the names of so many arrays of a layer, whose own names say nothing."""
    if number not in IN_ORDER:
        raise JaxcharError(f"layer {quoted(layer)} has {number} arrays whose names say nothing")
    return list(IN_ORDER[number])


def _unnamed_layers(root: Hdf5Group) -> list[KerasLayer]:
    """Return the layers of a file of Keras 0: those that have arrays, which are numbered."""
    layers = []
    for name in takewhile(root.has, (f"layer_{number}" for number in count())):
        group = root.group(name)
        paths = list(takewhile(group.has, (f"param_{place}" for place in count())))
        if paths:
            parts = _parts_in_order(len(paths), name)
            layers.append(
                _guessed(name, {part: group.array(p) for part, p in zip(parts, paths, strict=True)})
            )
    return layers


def _guessed(name: str, arrays: dict[str, Any]) -> KerasLayer:
    """Return a layer of a file with weights alone: what its arrays can only be."""
    return KerasLayer(name, kind_of(name, arrays), None, arrays)


def kind_of(name: str, arrays: dict[str, Any]) -> str:
    """Return the class of a layer by its arrays.

    Raises:
        JaxcharError: no layer of a character model has such arrays.
    """
    recurrent = arrays.get("recurrent_kernel", arrays.get("U"))
    if "W_i" in arrays:
        return "LSTM"
    if "W_z" in arrays:
        return "GRU"
    if recurrent is not None and recurrent.ndim == 2 and recurrent.shape[0]:
        blocks = recurrent.shape[1] / recurrent.shape[0]
        bias = arrays.get("bias")
        if blocks in (3, 4) and bias is not None and bias.shape == (2 * recurrent.shape[1],):
            return "CuDNNLSTM" if blocks == 4 else "CuDNNGRU"
        if blocks in (1, 3, 4):
            return {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}[int(blocks)]
    if "embeddings" in arrays or set(arrays) == {"W"}:
        return "Embedding"
    if "kernel" in arrays or "W" in arrays:
        return "Dense"
    raise JaxcharError(
        f"layer {quoted(name)} has arrays that no layer of a character model has: {sorted(arrays)}"
    )

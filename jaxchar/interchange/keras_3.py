"""Models of Keras 3, read and written: ``.keras`` archives and ``.weights.h5``.

model.keras/config.json         the layers and their settings
model.keras/metadata.json       the version of Keras
model.keras/model.weights.h5    layers/lstm_1/cell/vars/0, 1, 2: named by class and number, not by layer
"""

import io
import json
import re
import zipfile
from itertools import count
from typing import Any

import numpy as np

from jaxchar.config import Config
from jaxchar.interchange.archive import Archive
from jaxchar.interchange.hdf5 import Hdf5Group, h5py_library, read_hdf5
from jaxchar.interchange.keras_description import described_layers
from jaxchar.interchange.keras_hdf5 import kind_of
from jaxchar.interchange.keras_layers import (
    CELLS,
    DENSE,
    IDLE,
    KERAS_3_SLOPE,
    KERAS_GRU_ORDER,
    Found,
    KerasLayer,
    network_of,
)
from jaxchar.interchange.network import Layer, Network, blocks_in_order, untied

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
KERAS_VERSION = "3.10.0"  # whose format is written
PARTS = ("kernel", "recurrent_kernel", "bias")  # of vars/0, 1, 2
CLASSES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}


# ---- reading -------------------------------------------------------------------------------------


def read_keras_archive(archive: Archive) -> Found:
    """Return the network of a ``.keras`` file.

    Raises:
        JaxcharError: it is none, or a layer does not fit.
    """
    description = json.loads(archive.read(CONFIG))
    metadata = json.loads(archive.read(METADATA)) if METADATA in archive.names else {}
    version = str(metadata.get("keras_version", "3"))[:20] if isinstance(metadata, dict) else "3"
    stored = read_hdf5(archive.read(WEIGHTS)).group("layers")
    used: dict[str, int] = {}
    layers = []
    for name, kind, settings in described_layers(description):
        path = _path_of(kind, used)
        arrays = {} if kind in IDLE or not stored.has(path) else _arrays(stored.group(path), kind)
        layers.append(KerasLayer(name, kind, settings, arrays))
    return network_of(layers, f"Keras {version}", 3)


def read_keras_weights(root: Hdf5Group) -> Found:
    """Return the network of a ``.weights.h5`` file, which says nothing of settings.

    Raises:
        JaxcharError: the layers that it has do not make a character model.
    """
    stored = root.group("layers")
    layers = []
    for path in stored.names():
        group = stored.group(path)
        arrays = _arrays(group, "LSTM" if group.has("cell") else "Dense")
        if not arrays:
            continue
        if set(arrays) == {"kernel"} and re.match(r"embedding(_\d+)?$", path):
            arrays = {"embeddings": arrays["kernel"]}
        layers.append(KerasLayer(path, kind_of(path, arrays), None, arrays))
    layers.sort(key=lambda layer: (_rank(layer.kind), _number(layer.name)))
    return network_of(layers, "Keras 3", 3)


def _rank(kind: str) -> int:
    return 0 if kind == "Embedding" else 2 if kind in DENSE else 1


def _number(path: str) -> int:
    found = re.search(r"_(\d{1,9})$", path)
    return int(found[1]) if found else 0


def _path_of(kind: str, used: dict[str, int]) -> str:
    """Return the folder of the next layer of a class: ``lstm``, ``lstm_1``, ..."""
    name = re.sub(r"(?<!^)(?<![A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()
    number = used.get(name, 0)
    used[name] = number + 1
    return f"{name}_{number}" if number else name


def _arrays(group: Hdf5Group, kind: str) -> dict[str, np.ndarray]:
    """Return the arrays of a layer by their names in Keras."""
    inner = "cell/vars" if kind in CELLS else "layer/vars" if kind == "TimeDistributed" else "vars"
    if not group.has(inner):
        return {}
    stored = group.group(inner)
    parts = PARTS if kind in CELLS else ("embeddings",) if kind == "Embedding" else ("kernel", "bias")
    return {part: stored.array(str(place)) for place, part in enumerate(parts) if stored.has(str(place))}


# ---- writing -------------------------------------------------------------------------------------


def keras_archive(network: Network, config: Config) -> bytes:
    """Return a ``.keras`` file: one-hot rows (or ids, with an embedding) to logits.

    Args:
        network: to write.
        config: whether every step predicts or the last one only, and how many steps there are then.
    """
    network = untied(network)
    library, weights = h5py_library(), io.BytesIO()
    with library.File(weights, "w") as file:
        if network.embedding is not None:
            file["layers/embedding/vars/0"] = network.embedding
        stem = {"lstm": "lstm", "gru": "gru", "rnn": "simple_rnn"}[network.layers[0].cell]
        for number, layer in zip(count(), network.layers, strict=False):
            path = f"layers/{stem}_{number}" if number else f"layers/{stem}"
            for place, array in enumerate(_keras_arrays(layer)):
                file[f"{path}/cell/vars/{place}"] = array
        file["layers/dense/vars/0"] = network.head
        file["layers/dense/vars/1"] = network.head_bias
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in (
            (METADATA, json.dumps({"keras_version": KERAS_VERSION, "date_saved": ""})),
            (CONFIG, json.dumps(_description(network, config))),
            (WEIGHTS, weights.getvalue()),
        ):
            archive.writestr(zipfile.ZipInfo(name), content)  # of a fixed date: the same bits every time
    return written.getvalue()


def _keras_arrays(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kernel, recurrent kernel and bias as Keras 3 has them."""
    inputs, recurrent, bias, second = layer.inputs, layer.recurrent, layer.bias, layer.recurrent_bias
    if layer.gate == "hard_sigmoid":  # Keras 3's has another slope; it makes up for what the gates see
        size = layer.hidden_size
        scale = np.full(recurrent.shape[1], np.float32(0.2 / KERAS_3_SLOPE))
        scale[2 * size : 3 * size] = 1
        inputs, recurrent, bias = inputs * scale, recurrent * scale, bias * scale
        second = None if second is None else second * scale
    if layer.cell != "gru":
        return inputs, recurrent, bias
    bias = np.stack([bias, np.zeros_like(bias) if second is None else second])
    inputs, recurrent, bias = (blocks_in_order(a, KERAS_GRU_ORDER) for a in (inputs, recurrent, bias))
    return inputs, recurrent, bias


def _description(network: Network, config: Config) -> dict[str, Any]:
    """Return the JSON object of a Sequential model."""
    steps = None if config.return_sequences else config.seq_len
    shape: list[int | None] = [None, steps]
    if network.embedding is None:
        shape.append(network.vocab_size)
    layers = [_entry("InputLayer", "input", batch_shape=shape, dtype="float32")]
    if network.embedding is not None:
        rows, columns = network.embedding.shape
        layers[0]["config"]["dtype"] = "int32"
        layers.append(_entry("Embedding", "embedding", input_dim=rows, output_dim=columns, mask_zero=False))
    for number, layer in enumerate(network.layers, start=1):
        is_last = number == len(network.layers)
        settings = {"units": layer.hidden_size, "activation": "tanh", "use_bias": True}
        settings |= {"return_sequences": config.return_sequences or not is_last, "stateful": False}
        if layer.gate is not None:
            settings["recurrent_activation"] = layer.gate
        if layer.cell == "gru":
            settings["reset_after"] = True
        layers.append(_entry(CLASSES[layer.cell], f"{layer.cell}_{number}", **settings))
    layers.append(_entry("Dense", "logits", units=network.vocab_size, activation="linear", use_bias=True))
    inside = {"name": "jaxchar", "trainable": True, "layers": layers, "build_input_shape": shape}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": inside,
        "registered_name": None,
        "build_config": {"input_shape": shape},
    }


def _entry(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, **settings},
        "registered_name": None,
    }

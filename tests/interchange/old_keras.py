"""Files as Keras 0.3 to 2.2 wrote them, by h5py alone: what their ``save`` and ``save_weights`` put where.

Keras 0.3: weights alone, ``layer_0/param_0``, ``nb_layers`` and ``nb_params`` (numbers) as attributes.
Keras 1.0: ``layer_names``, ``weight_names``; an array for each gate, or one for all (consume_less="gpu").
Keras 1.2: the same in ``model_weights``, with ``model_config``, a list of layers, and ``keras_version``.
Keras 2.0: kernel, recurrent_kernel, bias. 2.2: the list of layers within an object with a name.
"""

import json

import numpy as np
from foreign import Foreign, V, h5_bytes

CLASSES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}


def gates_of(layer):
    """Return an LSTM's arrays one a gate, in the order in which Keras 0 and 1 kept them."""
    parts = [np.split(array, 4, axis=-1) for array in layer]
    return {
        f"{part}_{gate}": parts["WUb".index(part)]["ifco".index(gate)] for gate in "icfo" for part in "WUb"
    }


def arrays_of(foreign, layer, keras, fused=False):
    """Return the arrays of a recurrent layer by their names in a version."""
    if keras >= 2:
        return dict(zip(("kernel", "recurrent_kernel", "bias"), layer, strict=True))
    if foreign.cell == "lstm" and not fused:
        return gates_of(layer)
    return dict(zip("WUb", layer, strict=True))


def layers_of(
    foreign: Foreign, keras, steps=None, gate="hard_sigmoid", every_step=True, stateful=False, **ways
):
    """Return (class, settings, arrays) of each layer of a network, with what stood between them."""
    old = keras < 2
    size, gate_name = ("output_dim", "inner_activation") if old else ("units", "recurrent_activation")
    found = []
    if foreign.embedding is not None:
        settings = {"input_dim": V, "output_dim": foreign.embedding.shape[1], "mask_zero": False}
        settings |= {"batch_input_shape": [None, steps], "input_dtype" if old else "dtype": "int32"}
        found.append(("Embedding", settings, {"W" if old else "embeddings": foreign.embedding}))
    for number, layer in enumerate(foreign.layers, start=1):
        settings = {"trainable": True, size: foreign.sizes[number - 1], "activation": "tanh"}
        settings |= {gate_name: gate, "go_backwards": False, "stateful": stateful, "unroll": False}
        settings["return_sequences"] = every_step or number < len(foreign.layers)
        if old:
            settings |= {
                "consume_less": "gpu" if ways.get("fused") else "cpu",
                "dropout_W": 0.2,
                "dropout_U": 0.2,
            }
            settings |= {"init": "glorot_uniform", "inner_init": "orthogonal", "W_regularizer": None}
            settings |= {"input_dim": layer[0].shape[0], "input_length": steps if number == 1 else None}
        if number == 1 and foreign.embedding is None:
            settings |= {
                "batch_input_shape": [1 if stateful else None, steps, V],
                "input_dtype" if old else "dtype": "float32",
            }
        found.append((CLASSES[foreign.cell], settings, arrays_of(foreign, layer, keras, ways.get("fused"))))
        found.append(("Dropout", {"trainable": True, "p" if old else "rate": 0.2}, {}))
    return [*found, *head_of(foreign, keras, **ways)]


def head_of(foreign, keras, head="Dense", softmax_apart=False, **_):
    """Return the last layers: Dense, TimeDistributedDense or TimeDistributed(Dense), with its softmax."""
    old, activation = keras < 2, "linear" if softmax_apart else "softmax"
    settings = {"trainable": True, "output_dim" if old else "units": V, "activation": activation}
    if head == "TimeDistributed":
        settings = {
            "trainable": True,
            "layer": {"class_name": "Dense", "config": {"name": "dense_9", **settings}},
        }
    names = ("W", "b") if old else ("kernel", "bias")
    found = [(head, settings, dict(zip(names, (foreign.head, foreign.head_bias), strict=True)))]
    return [*found, ("Activation", {"activation": "softmax"}, {})] if softmax_apart else found


def keras_0_3(foreign, **ways):
    """Return the bytes of ``save_weights`` of Keras 0.3: the arrays in their order, without a name."""

    def write(file):
        layers = layers_of(foreign, 0, **ways)
        file.attrs["nb_layers"] = len(layers)
        for number, (_, _, arrays) in enumerate(layers):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = len(arrays)
            for place, array in enumerate(arrays.values()):
                group[f"param_{place}"] = array

    return h5_bytes(write)


def keras_file(foreign, keras, *, version=None, settings=True, text=np.bytes_, **ways):
    """Return the bytes of ``save`` (with settings) or of ``save_weights`` of Keras 1 and 2.

    Args:
        foreign: the network.
        keras: 1 or 2.
        version: what the file says of it; None: nothing, as before 1.2.
        settings: whether the model's description is in the file.
        text: the type in which attributes are written, np.bytes_ or str.
        ways: see layers_of; ``unnamed`` arrays are called param_0, ...; ``tensorflow`` adds ":0" to names,
            and ``wrapped`` puts the list of layers into an object.
    """
    layers = layers_of(foreign, keras, **ways)
    described, stored, used = [], {}, {}
    for kind, config, arrays in layers:
        used[kind] = used.get(kind, 0) + 1
        name = f"{kind.lower()}_{used[kind]}"
        described.append({"class_name": kind, "config": {**config, "name": name}})
        stored[name] = {
            _stored_as(name, part, place, keras, ways): a for place, (part, a) in enumerate(arrays.items())
        }
    inside = {"name": "sequential_1", "layers": described} if ways.get("wrapped") else described

    def write(file):
        group = file.create_group("model_weights") if settings else file
        if version is not None:
            for where in {file, group}:
                where.attrs["keras_version"] = text(version)
                where.attrs["backend"] = text("tensorflow")
        if settings:
            model = json.dumps({"class_name": "Sequential", "config": inside})
            file.attrs["model_config"] = text(model) if text is str else model.encode()
            file.attrs["training_config"] = b'{"loss": "categorical_crossentropy"}'
            file.create_group("optimizer_weights")["adam_iterations"] = np.float32(3)
        group.attrs["layer_names"] = [_as(text, name) for name in stored]
        for name, arrays in stored.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [_as(text, part) for part in arrays]
            for part, array in arrays.items():
                layer[part] = array

    return h5_bytes(write)


def _as(text, name):
    return name if text is str else name.encode()


def _stored_as(layer, part, place, keras, ways):
    if ways.get("unnamed"):
        return f"param_{place}"
    end = ":0" if ways.get("tensorflow", keras >= 2) else ""
    return f"{layer}_{part}{end}" if keras < 2 else f"{layer}/{part}{end}"

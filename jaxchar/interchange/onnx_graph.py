"""A network as an ONNX graph: ids and states in, logits and states out.

ONNX has the LSTM's blocks as i, o, f, c (ours: i, f, g, o) and the GRU's as z, r, h (ours: r, z, n); its
``HardSigmoid`` can be ours.
"""

from typing import Any

import numpy as np

from jaxchar.errors import JaxcharError
from jaxchar.interchange.network import Layer, Network, blocks_in_order, untied

OPSET, IR_VERSION = 17, 8  # of 2022; everything that runs ONNX reads them
OPERATORS = {"lstm": ("LSTM", (0, 3, 1, 2)), "gru": ("GRU", (1, 0, 2)), "rnn": ("RNN", (0,))}


def onnx_library() -> Any:
    """Return the onnx package.

    Raises:
        JaxcharError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise JaxcharError(
            "files of ONNX need the onnx package, which is not installed; install it: pip install "
            "'jaxchar[onnx]'"
        ) from error
    return onnx


def onnx_file(network: Network, texts: dict[str, str]) -> bytes:
    """Return an ``.onnx`` file.

    Its inputs are ``ids`` [B, T] int64, and for every layer ``h0``, ``h1``, ... [1, B, H] (the LSTM's also
    ``c0``, ...), zeros at the start of a text. Its outputs are ``logits`` [B, T, V] and the states after the
    last character, ``h0_after``, ...

    Args:
        network: to write.
        texts: about the model, by name.
    """
    onnx = onnx_library()
    graph = _Graph(onnx)
    network = untied(network)
    graph.add("Transpose", ["ids"], "ids_by_time", perm=[1, 0])
    if network.embedding is not None:
        graph.constant("embedding", network.embedding)
        graph.add("Gather", ["embedding", "ids_by_time"], "features")
    else:
        graph.constant("depth", np.int64(network.vocab_size))
        graph.constant("off_and_on", np.array([0, 1], np.float32))
        graph.add("OneHot", ["ids_by_time", "depth", "off_and_on"], "features")
    graph.constant("direction", np.array([1], np.int64))
    features = "features"
    for number, layer in enumerate(network.layers):
        features = _add_layer(graph, number, layer, features)
    graph.constant("head", network.head)
    graph.constant("head_bias", network.head_bias)
    graph.add("MatMul", [features, "head"], "products")
    graph.add("Add", ["products", "head_bias"], "logits_by_time")
    graph.add("Transpose", ["logits_by_time"], "logits", perm=[1, 0, 2])
    return graph.file(network, texts)


def _add_layer(graph: "_Graph", number: int, layer: Layer, features: str) -> str:
    """Add a recurrent layer; return the name of its hidden states, [T, B, H]."""
    operator, order = OPERATORS[layer.cell]
    second = np.zeros_like(layer.bias) if layer.recurrent_bias is None else layer.recurrent_bias
    kernels = [blocks_in_order(kernel, order).T[None] for kernel in (layer.inputs, layer.recurrent)]
    biases = np.concatenate([blocks_in_order(bias, order) for bias in (layer.bias, second)])[None]
    for name, array in (("W", kernels[0]), ("R", kernels[1]), ("B", biases)):
        graph.constant(f"{name}{number}", array)
    inputs = [features, f"W{number}", f"R{number}", f"B{number}", "", f"h{number}"]
    outputs = [f"all{number}", f"h{number}_after"]
    if layer.cell == "lstm":
        inputs.append(f"c{number}")
        outputs.append(f"c{number}_after")
    settings: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if layer.gate == "hard_sigmoid":
        settings["activations"] = ["HardSigmoid"] + ["Tanh"] * (2 if layer.cell == "lstm" else 1)
        settings |= {"activation_alpha": [0.2], "activation_beta": [0.5]}
    if layer.cell == "gru":
        settings["linear_before_reset"] = 1
    graph.add(operator, inputs, *outputs, **settings)
    graph.add("Squeeze", [f"all{number}", "direction"], f"hiddens{number}")
    return f"hiddens{number}"


class _Graph:
    """The nodes and constants of a graph that is being made."""

    def __init__(self, onnx: Any) -> None:
        self._onnx, self._nodes, self._constants = onnx, list[Any](), list[Any]()

    def add(self, operator: str, inputs: list[str], *outputs: str, **settings: Any) -> None:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, list(outputs), **settings))

    def constant(self, name: str, array: Any) -> None:
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))

    def file(self, network: Network, texts: dict[str, str]) -> bytes:
        """Return the whole graph as a file, checked by ONNX's own rules."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        states = [
            (f"{part}{number}", layer.hidden_size)
            for number, layer in enumerate(network.layers)
            for part in ("hc" if layer.cell == "lstm" else "h")
        ]

        def floats(name: str, shape: list[Any]) -> Any:
            return helper.make_tensor_value_info(name, types.FLOAT, shape)

        inputs = [helper.make_tensor_value_info("ids", types.INT64, ["batch", "time"])]
        inputs += [floats(name, [1, "batch", size]) for name, size in states]
        outputs = [floats("logits", ["batch", "time", network.vocab_size])]
        outputs += [floats(f"{name}_after", [1, "batch", size]) for name, size in states]
        graph = helper.make_graph(self._nodes, "jaxchar", inputs, outputs, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="jaxchar", ir_version=IR_VERSION)
        helper.set_model_props(model, texts)
        self._onnx.checker.check_model(model)
        return model.SerializeToString()

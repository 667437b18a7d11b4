"""State dictionaries of PyTorch as networks, and back.

Of ``nn.Embedding``, ``nn.LSTM``, ``nn.GRU``, ``nn.RNN`` and ``nn.Linear``. PyTorch keeps kernels transposed,
[G, D], and two biases. Its blocks are i, f, g, o and r, z, n, as ours.
"""

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxchar.errors import JaxcharError, quoted
from jaxchar.interchange.keras_layers import Found
from jaxchar.interchange.network import CellName, Gate, Layer, Network, check, floats, with_two_biases

RECURRENT = re.compile(r"(.*?)(weight|bias)_(ih|hh|hr)(?:_l(\d{1,4}))?(_reverse)?$", re.DOTALL)
CELLS: dict[int, CellName] = {4: "lstm", 3: "gru", 1: "rnn"}  # by the number of blocks
NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
)  # in a checkpoint of training
Arrays = Mapping[str, np.ndarray]


# ---- reading -------------------------------------------------------------------------------------


def read_state_dict(arrays: Arrays, gate: Gate | None = "sigmoid") -> Found:
    """Return the network of a state dictionary, whatever its modules are called.

    Args:
        arrays: by their names. Modules of one kind that follow one another are numbered, or in this order.
        gate: the gate function; that of PyTorch's own layers is the sigmoid.

    Raises:
        JaxcharError: the arrays do not make a character model.
    """
    recurrent: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    others: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        found = RECURRENT.match(name)
        if found is None:
            others[name] = floats(array, name)
            continue
        prefix, what, side, number, reverse = found.groups()
        if reverse:
            raise JaxcharError(f"{quoted(name)} is of a layer that reads backwards, which ours cannot")
        if side == "hr":
            raise JaxcharError(f"{quoted(name)} is of an LSTM with proj_size, which ours has not")
        recurrent.setdefault((prefix, int(number or 0)), {})[f"{what}_{side}"] = floats(array, name)
    layers = [_layer(key, recurrent[key], gate) for key in _in_order(list(recurrent))]
    if not layers:
        raise JaxcharError(
            "it has no recurrent layer (no weight_ih_l0); a model must have an LSTM, a GRU or an RNN"
        )
    embedding, projection, head, bias = _ends(others, layers)
    return Found(check(Network(embedding, tuple(layers), head, bias, projection)), "PyTorch")


def _layer(key: tuple[str, int], arrays: dict[str, np.ndarray], gate: Gate | None) -> Layer:
    name = f"{key[0]}l{key[1]}"
    for needed in ("weight_ih", "weight_hh"):
        if needed not in arrays or arrays[needed].ndim != 2:
            raise JaxcharError(f"layer {quoted(name)} has no matrix {needed}")
    inputs, hidden = arrays["weight_ih"].T, arrays["weight_hh"].T
    cell = CELLS.get(hidden.shape[1] // hidden.shape[0]) if hidden.shape[0] else None
    if cell is None or hidden.shape[1] % hidden.shape[0]:
        raise JaxcharError(
            f"layer {quoted(name)} has recurrent weights of shape {list(arrays['weight_hh'].shape)}, "
            f"expected "
            "[4 H, H] of an LSTM, [3 H, H] of a GRU, or [H, H] of an RNN"
        )
    zeros = np.zeros(hidden.shape[1], np.float32)
    first, second = arrays.get("bias_ih", zeros), arrays.get("bias_hh", zeros)
    if first.shape != zeros.shape or second.shape != zeros.shape:
        raise JaxcharError(f"layer {quoted(name)} has biases that do not fit its weights")
    layer = Layer(name, cell, None if cell == "rnn" else gate, _plain(inputs), _plain(hidden), first)
    return with_two_biases(layer, second)


def _ends(
    others: dict[str, np.ndarray], layers: list[Layer]
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray, np.ndarray]:
    """Return embedding, projection, head and the head's bias, found by their shapes and names."""
    matrices = {name: array for name, array in others.items() if array.ndim == 2}
    biases = {name: array for name, array in others.items() if array.ndim == 1}
    odd = sorted(set(others) - set(matrices) - set(biases))
    first, last = layers[0].inputs.shape[0], layers[-1].hidden_size
    biased = [name for name in matrices if _bias_of(name) in biases]
    heads = [name for name in biased if matrices[name].shape[1] == last] or [
        name for name in matrices if matrices[name].shape == (first, last) and len(matrices) == 1
    ]
    projections = [name for name in matrices if name.rpartition(".")[0].endswith("projection")]
    if projections and len(biased) == 1:  # a head that shares the embedding
        heads = biased
    rest = [name for name in matrices if name not in heads + projections]
    if len(heads) != 1 and len(matrices) == 2:
        heads, rest = _by_name(matrices)
    unused = [*odd, *(name for name in biases if name not in map(_bias_of, heads)), *rest[1:], *heads[1:]]
    if len(heads) != 1 or unused or len(projections) > 1:
        raise JaxcharError(
            f"its arrays {quoted(sorted(unused or others))} have no place in a character model: an "
            f"Embedding or "
            "one-hot input, recurrent layers, and one Linear with a bias"
        )
    embedding = matrices[rest[0]] if rest else None
    head = _plain(matrices[heads[0]].T)
    bias = biases.get(_bias_of(heads[0]), np.zeros(head.shape[1], np.float32))
    if not projections:
        return embedding, None, head, bias
    projection = _plain(matrices[projections[0]].T)
    shapes = (last, head.shape[0])
    if embedding is None or projection.shape != shapes or not np.array_equal(embedding, head.T):
        raise JaxcharError(f"{quoted(projections[0])} leads to no head that shares the embedding")
    return embedding, projection, head, bias


def _by_name(matrices: dict[str, np.ndarray]) -> tuple[list[str], list[str]]:
    """Return head and embedding, which the names tell apart where the shapes do not."""
    embeddings = [name for name in matrices if re.search("emb|encod|wte", name, re.IGNORECASE)]
    return [name for name in matrices if name not in embeddings], embeddings


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


def _plain(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array)


def _in_order(keys: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the layers in their order: by number, 2 before 10, else as the file has them."""
    stems = {re.sub(r"\d+", "", prefix) for prefix, _ in keys}
    if len(stems) > 1:
        return sorted(keys, key=lambda key: ([k[0] for k in keys].index(key[0]), key[1]))
    return sorted(keys, key=lambda key: ([int(digits[:9]) for digits in re.findall(r"\d+", key[0])], key[1]))


def read_torch_file(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.pt`` file, which runs no code of it.

    Raises:
        JaxcharError: PyTorch is not installed, or the file holds more than tensors.
    """
    torch = torch_library()
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises many kinds
        reason = (str(error).splitlines() or [""])[0][:200]
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's words tell how to load it all the same
            reason = "it holds objects that only code can make"
        raise JaxcharError(
            f"PyTorch reads no plain tensors from it ({type(error).__name__}: {reason}); save the "
            "state dictionary alone: torch.save(model.state_dict(), path)"
        ) from error
    for name in NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise JaxcharError("it holds no state dictionary; save one: torch.save(model.state_dict(), path)")
    return {str(name): _numbers(tensor, str(name), len(data), torch) for name, tensor in content.items()}


def _numbers(tensor: Any, name: str, num_bytes: int, torch: Any) -> np.ndarray:
    if tensor.layout != torch.strided or tensor.is_quantized or not tensor.is_floating_point():
        raise JaxcharError(f"{quoted(name)} is no tensor of floating-point numbers")
    if tensor.numel() * tensor.element_size() > num_bytes:
        raise JaxcharError(f"{quoted(name)} claims more numbers than the file has")
    return tensor.detach().to(torch.float32).numpy()


def torch_library() -> Any:
    """Return PyTorch.

    Raises:
        JaxcharError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise JaxcharError(
            "files of PyTorch (.pt, .pth) need torch, which is not installed; install it (pip install "
            "'jaxchar[torch]'), or use .safetensors, which needs nothing"
        ) from error
    return torch


# ---- writing -------------------------------------------------------------------------------------


def state_dict(network: Network) -> dict[str, np.ndarray]:
    """Return the arrays of a network by the names of the module in its model card."""
    arrays: dict[str, np.ndarray] = {}
    if network.embedding is not None:
        arrays["embedding.weight"] = network.embedding
    for number, layer in enumerate(network.layers):
        second = layer.recurrent_bias
        arrays |= {
            f"layers.{number}.weight_ih_l0": layer.inputs.T,
            f"layers.{number}.weight_hh_l0": layer.recurrent.T,
            f"layers.{number}.bias_ih_l0": layer.bias,
            f"layers.{number}.bias_hh_l0": np.zeros_like(layer.bias) if second is None else second,
        }
    if network.projection is not None:
        arrays["projection.weight"] = network.projection.T
    arrays |= {"head.weight": network.head.T, "head.bias": network.head_bias}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def torch_file(arrays: Arrays) -> bytes:
    """Return a ``.pt`` file of arrays.

    Raises:
        JaxcharError: PyTorch is not installed.
    """
    torch, written = torch_library(), io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, written)
    return written.getvalue()

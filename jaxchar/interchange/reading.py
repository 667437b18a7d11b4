"""Read a model of any known format: which one it is, is told by the file's first bytes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of
from jaxchar.interchange import archive, hdf5
from jaxchar.interchange.keras_3 import WEIGHTS, read_keras_archive, read_keras_weights
from jaxchar.interchange.keras_hdf5 import read_keras_hdf5
from jaxchar.interchange.keras_layers import Found
from jaxchar.interchange.network import (
    Gate,
    Network,
    in_code_point_order,
    model_settings,
    soft_to_ours,
)
from jaxchar.interchange.ours import KEY, Described, read_ours
from jaxchar.interchange.parameters import to_params
from jaxchar.interchange.tensors import looks_like_safetensors, read_safetensors
from jaxchar.interchange.torch_state import read_state_dict, read_torch_file
from jaxchar.interchange.vocabulary_file import is_plain_pickle, read_vocabulary

START_BYTES = 16  # enough to tell the format
DEFAULT_SEQ_LEN = 64  # of streams, where the file does not say it


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a file does not say of a model; None: as the file says."""

    vocabulary: str | None = None  # a file, see read_vocabulary
    gate: Gate | None = None
    batching: Literal["streams", "windows"] | None = None
    seq_len: int | None = None
    return_sequences: bool | None = None
    lowercase: bool | None = None  # None: where the vocabulary has small letters alone
    fill: str | None = None  # stands for every character that the vocabulary lacks; None: they are refused


class Imported(NamedTuple):
    """A model, and where it is from."""

    model: Described
    file: str  # its name, without folders
    sha256: str  # of the file
    origin: str  # of which framework


def read_model(path: str | Path, options: ImportOptions | None = None) -> Imported:
    """Return the model of a file of Keras, PyTorch or jaxchar.

    Args:
        path: HDF5, ``.keras``, ``.weights.h5``, ``.safetensors``, ``.pt``.
        options: what the file does not say.

    Raises:
        JaxcharError: the file cannot be read, holds no character model, or says too little.
    """
    options = ImportOptions() if options is None else options
    if not isinstance(options, ImportOptions):
        raise JaxcharError(
            f"the options must be an ImportOptions, but they are {quoted(options)}; give "
            "ImportOptions(vocabulary=...)"
        )
    if options.gate not in (None, *get_args(Gate)):
        raise JaxcharError(
            f"--gate must be one of {', '.join(get_args(Gate))}, but it is {quoted(options.gate)}; leave it "
            "out where the file says it"
        )
    data = _bytes(path)
    with _named(path):
        found = _read(data, options.gate)
    model = found if isinstance(found, Described) else _described(path, found, options)
    origin = "jaxchar" if isinstance(found, Described) else found.origin
    return Imported(model, Path(path).name, hashlib.sha256(data).hexdigest(), origin)


def read_own_model(path: str | Path) -> Described:
    """Return the model of a ``.safetensors`` file that jaxchar wrote, with the same bits.

    Raises:
        JaxcharError: the file is of something else.
    """
    data = _bytes(path)
    with _named(path):
        arrays, texts = read_safetensors(data)
        if KEY in texts:
            return read_ours(arrays, texts)
    raise JaxcharError(
        f"{quoted_path(path)} was not written by jaxchar; make a run of it: jaxchar import FILE "
        f"--vocabulary FILE",
    )


def _bytes(path: str | Path) -> bytes:
    """Return a file's bytes; of what is no model, no more than its beginning is read: it may have no end."""
    try:
        with Path(path).expanduser().open("rb") as file:
            start = file.read(START_BYTES)
            return start + file.read() if _is_known(start) else start
    except MemoryError as error:
        raise JaxcharError(
            f"cannot read the model {quoted_path(path)}: it is larger than the memory of this machine"
        ) from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise JaxcharError(
            f"cannot read the model {quoted_path(path)}: {reason_of(error)}; give the file of a model"
        ) from error


def _is_known(start: bytes) -> bool:
    """Whether a file that starts so may be of a known format."""
    return start.startswith((hdf5.SIGNATURE, archive.SIGNATURE, b"\x80")) or looks_like_safetensors(start)


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Turn any error in reading a model's file into a JaxcharError of one line that names it."""
    try:
        yield
    except JaxcharError as error:
        raise JaxcharError(f"cannot import {quoted_path(path)}: {error.args[0]}") from error
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # the readers of other formats raise many kinds
        reason = (str(error).splitlines() or [""])[0][:200]
        raise JaxcharError(
            f"cannot import {quoted_path(path)}: the file is damaged ({type(error).__name__}: {reason})"
        ) from error


def _read(data: bytes, gate: Gate | None) -> Found | Described:
    """Return the network of a file's bytes."""
    if data.startswith(hdf5.SIGNATURE):
        root = hdf5.read_hdf5(data)
        return read_keras_weights(root) if root.has("layers") else read_keras_hdf5(root)
    if data.startswith(archive.SIGNATURE):
        members = archive.Archive(data)
        if WEIGHTS in members.names:
            return read_keras_archive(members)
        if any(name.endswith("data.pkl") for name in members.names):
            return read_state_dict(read_torch_file(data), gate or "sigmoid")
        raise JaxcharError("it is a zip file, but of no model of Keras or PyTorch")
    if looks_like_safetensors(data[:9]):
        arrays, texts = read_safetensors(data)
        return read_ours(arrays, texts) if KEY in texts else read_state_dict(arrays, gate or "sigmoid")
    if data[:1] == b"\x80":
        if is_plain_pickle(data):
            raise JaxcharError(
                "it is a pickle of plain containers, as a vocabulary may be, and no model; give it with "
                "--vocabulary"
            )
        return read_state_dict(read_torch_file(data), gate or "sigmoid")
    raise JaxcharError(
        "it is of no known format; known are HDF5 and .keras of Keras, .safetensors, and .pt of PyTorch"
    )


def _described(path: str | Path, found: Found, options: ImportOptions) -> Described:
    """Return a foreign network as one of ours."""
    if options.vocabulary is None:
        raise JaxcharError(
            f"the model {quoted_path(path)} has {found.network.vocab_size:,} symbols, and the file does "
            f"not say "
            "which characters they are; give --vocabulary, a file with the characters in the order of "
            "their ids"
        )
    symbols = read_vocabulary(options.vocabulary, found.network.vocab_size)
    network, vocabulary = in_code_point_order(_with_gate(found, options), symbols)
    config = _config(path, found, network, vocabulary, options)
    with _named(path):
        return Described(config, vocabulary, to_params(network, config))


def _with_gate(found: Found, options: ImportOptions) -> Network:
    """Return a network with our hard sigmoid, where the file does not say that it has the framework's."""
    network = found.network
    gate = options.gate or found.usual_gate
    if network.layers[0].gate is None and network.layers[0].cell != "rnn" and gate == "hard_sigmoid":
        layers = tuple(soft_to_ours(layer, found.hard_slope) for layer in network.layers)
        return network._replace(layers=layers)
    return network


def _config(
    path: str | Path, found: Found, network: Network, vocabulary: Vocabulary, options: ImportOptions
) -> Config:
    """Return the settings of a foreign model."""
    gate = network.layers[0].gate
    told = options.gate or found.usual_gate
    if gate is None and told is None and network.layers[0].cell != "rnn":
        raise JaxcharError(
            f"the file {quoted_path(path)} has weights alone and does not say which gate function they are "
            f"for; "
            "give --gate=sigmoid (TensorFlow's Keras, Keras 2.3 or newer) or --gate=hard_sigmoid (older "
            "Keras)"
        )
    settings: dict[str, Any] = model_settings(network, told)
    if gate is not None and options.gate not in (None, gate):
        raise JaxcharError(f"--gate is {options.gate!r}, but the model has {gate!r}; leave --gate out")
    return Config(
        **settings,
        **_reading(found, options),
        **_reduction(vocabulary, options),
        corpus=Path(path).name,
        memory="none",
        val_fraction=0.0,
    )


def _reading(found: Found, options: ImportOptions) -> dict[str, Any]:
    """Return how the model reads a text: in windows of some length, or on and on."""
    every_step = options.return_sequences
    if every_step is None:
        every_step = True if found.return_sequences is None else found.return_sequences
    seq_len = found.seq_len if options.seq_len is None else options.seq_len
    batching = options.batching
    if batching is None:
        in_pieces = found.seq_len is not None and not found.stateful
        batching = "streams" if every_step and not in_pieces else "windows"
    if batching == "windows" and seq_len is None:
        raise JaxcharError(
            "the model predicts from windows, and the file does not say how long they are; give --seq-len, "
            "the "
            "characters of a window"
        )
    return {
        "batching": batching,
        "seq_len": DEFAULT_SEQ_LEN if seq_len is None else seq_len,
        "return_sequences": every_step,
        **({"stateful": True} if batching == "windows" and found.stateful else {}),
    }


def _reduction(vocabulary: Vocabulary, options: ImportOptions) -> dict[str, Any]:
    """Return how a text is brought into the characters of the model."""
    symbols = vocabulary.symbols
    small_only = symbols.lower() == symbols != symbols.upper()
    lowercase = small_only if options.lowercase is None else options.lowercase
    if options.fill is None:
        return {"lowercase": lowercase}
    if options.fill not in symbols:
        raise JaxcharError(f"--fill must be a character of the model, but it is {options.fill!r}")
    return {"lowercase": lowercase, "keep": symbols, "fill": options.fill}

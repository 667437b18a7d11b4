"""Write a model for other frameworks: the suffix of the path says in which format."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from flax import nnx

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError, quoted_path, reason_of
from jaxchar.files import written_whole
from jaxchar.interchange.c_header import c_header
from jaxchar.interchange.keras_3 import keras_archive
from jaxchar.interchange.model_card import (
    HEADER,
    as_json,
    config_json,
    model_card,
    vocabulary_json,
)
from jaxchar.interchange.onnx_graph import onnx_file
from jaxchar.interchange.ours import texts_of
from jaxchar.interchange.parameters import from_params
from jaxchar.interchange.tensors import IN_A_FOLDER, safetensors_file
from jaxchar.interchange.torch_state import state_dict, torch_file

SUFFIXES = (".safetensors", ".keras", ".pt", ".pth", ".onnx", ".h")
CONFIG, VOCABULARY, CARD = "config.json", "vocabulary.json", "README.md"  # beside them


def write_model(
    path: str | Path,
    config: Config,
    vocabulary: Vocabulary,
    params: nnx.State,
    *,
    overwrite: bool = False,
    facts: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a model, with config.json, vocabulary.json and the model card README.md beside it.

    Where the folder has another README.md, that stays, and the card has the name of the weights.

    Args:
        path: a file whose suffix is ``.safetensors``, ``.keras``, ``.pt``, ``.onnx`` or ``.h``; or a folder,
            for model.safetensors in it.
        config: of the model.
        vocabulary: of the model.
        params: of the model.
        overwrite: whether files that are there may be replaced.
        facts: more for the model card, by what it is called.

    Returns:
        The files, weights first.

    Raises:
        JaxcharError: there is no such format, a package for it is missing, or the files cannot be written.
    """
    target = _target(path)
    network, texts = from_params(params, config), texts_of(config, vocabulary)
    if target.suffix == ".keras":
        weights = keras_archive(network, config)
    elif target.suffix == ".onnx":
        weights = onnx_file(network, texts)
    elif target.suffix == ".h":
        weights = c_header(network, vocabulary.symbols, config.context_limit)
    elif target.suffix == ".safetensors":
        weights = safetensors_file(state_dict(network), texts)
    else:
        weights = torch_file(state_dict(network))
    contents = {
        target: weights,
        target.with_name(CONFIG): as_json(config_json(config, vocabulary)).encode(),
        target.with_name(VOCABULARY): as_json(vocabulary_json(vocabulary)).encode("utf-8", "surrogatepass"),
    }
    _check_free(target, contents, overwrite)
    card = model_card(config, vocabulary, target.name, dict(facts or {}))
    contents[_card_path(target, overwrite)] = card.encode("utf-8", "surrogatepass")
    return _write(target.parent, contents)


def _target(path: str | Path) -> Path:
    """Return the file of the weights.

    Raises:
        JaxcharError: the suffix is that of no known format.
    """
    try:
        target = Path(path).expanduser()
        if target.is_dir() or not target.suffix:
            return target / IN_A_FOLDER
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise JaxcharError(f"the path {quoted_path(path)} cannot be used: {reason_of(error)}") from error
    if target.suffix not in SUFFIXES:
        raise JaxcharError(
            f"the path {quoted_path(path)} must end in {', '.join(SUFFIXES)}, or be a folder, but it ends in "
            f"{target.suffix!r}"
        )
    return target


def _check_free(target: Path, contents: Mapping[Path, bytes], overwrite: bool) -> None:
    """Raise a JaxcharError where a file would be lost.

    Files beside the weights that are there with the same content, of another export of the model, stay.
    """
    folder = quoted_path(target.parent)
    config = target.with_name(CONFIG)
    if config.exists() and not _has(config, b'"model_type": "jaxchar"'):
        raise JaxcharError(f"the folder {folder} has a {CONFIG} of something else; give another folder")
    there = [
        path.name
        for path, content in contents.items()
        if path.exists() and (path == target or _content(path) != content)
    ]
    if there and not overwrite:
        raise JaxcharError(
            f"the folder {folder} has {', '.join(there)} already; give another folder, or replace them with "
            "--overwrite"
        )


def _card_path(target: Path, overwrite: bool) -> Path:
    """Return where the model card is written: README.md, or a name of its own where there is another one."""
    card = target.with_name(CARD)
    is_ours = _has(card, HEADER.encode())
    return card if not card.exists() or (is_ours and overwrite) else target.with_suffix(".md")


def _has(path: Path, start: bytes) -> bool:
    return start in _content(path)[:1000]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _write(folder: Path, contents: Mapping[Path, bytes]) -> list[Path]:
    """Write all files whole, or none; return them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as all_written:
            for path, content in contents.items():
                all_written.enter_context(written_whole(path)).write_bytes(content)
    except OSError as error:
        raise JaxcharError(f"cannot write to {quoted_path(folder)}: {reason_of(error)}") from error
    return list(contents)

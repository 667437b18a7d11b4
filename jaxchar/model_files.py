"""Models from files and into files: ``jaxchar.load``, ``jaxchar.save``."""

import contextlib
import warnings
from pathlib import Path

from jaxchar.checkpoint.find import Which, load_checkpoint
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.interchange.tensors import IN_A_FOLDER
from jaxchar.language_model import LanguageModel, from_checkpoint
from jaxchar.model.split import model_structure


def load(path: str | Path, which: Which | None = None) -> LanguageModel:
    """Load the model of a run folder, of its checkpoint folder, or of one checkpoint.

    Where the run kept a weight average, the model has the average's weights. A damaged checkpoint is
    passed over for the next one that is whole, with a warning.

    Args:
        path: what to load; or a ``.safetensors`` file that :func:`save` wrote, or a folder with one, whose
            model has the same weights to the bit and remembers no text.
        which: of a run's checkpoints, the "last", or the "best": that with the lowest validation loss.
            None takes the best where the run was validated, else the last.

    Raises:
        JaxcharError: there is no whole checkpoint.
    """
    if (weights := weights_file(path)) is not None:
        # All formats at once, which a checkpoint need not wait for.
        from jaxchar.interchange.reading import read_own_model

        config, vocabulary, params = read_own_model(weights)
        graphdef, _ = model_structure(config, len(vocabulary))
        return LanguageModel(config, vocabulary, graphdef, params)
    loaded = load_checkpoint(path, weights_structure, which)
    for warning in loaded.warnings:
        warnings.warn(in_callers_words(warning), stacklevel=2)
    return from_checkpoint(loaded)


def weights_file(path: str | Path) -> Path | None:
    """Return the file of weights that a path is, or that the folder has; None: it is no such path."""
    if not isinstance(path, str | Path):
        return None
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # a name that no file can have
        file = Path(path).expanduser()
        if file.suffix == ".safetensors" and not file.is_dir():
            return file
        if (file / IN_A_FOLDER).is_file():
            return file / IN_A_FOLDER
    return None


def save(model: LanguageModel, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write a model for other programs: the network alone, without a text that it remembers.

    Beside the weights, it writes config.json, vocabulary.json and the model card README.md.

    Args:
        model: any.
        path: a file whose suffix is the format: ``.safetensors`` (for jaxchar and PyTorch), ``.keras``
            (Keras 3), ``.pt`` (a state dictionary of PyTorch), ``.onnx`` or ``.h`` (C); or a folder,
            for model.safetensors in it.
        overwrite: whether files that are there may be replaced.

    Returns:
        The files, weights first.

    Raises:
        JaxcharError: it is no model, there is no such format, a package for it is missing, or the files
            cannot be written.
    """
    from jaxchar.interchange.writing import write_model

    if not isinstance(model, LanguageModel):
        raise JaxcharError(
            f"the model must be a LanguageModel, but it is {quoted(model)}; give jaxchar.load(...)"
        )
    return write_model(path, model.config, model.vocabulary, model.state, overwrite=overwrite)

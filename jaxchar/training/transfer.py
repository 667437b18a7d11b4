"""What a new run takes over from another one: weights, optimizer state, and rows for new characters.

Letters: V symbols that the other run knows, K new ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import Loaded, load_checkpoint, peek
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.config import Config
from jaxchar.data.vocabulary import UnknownCharactersError, Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.training.step import TrainState, state_structure

NewCharacters = Literal["error", "add"]

# What weights taken from another run depend on.
ARCHITECTURE = ("cell", "layer_sizes", "embedding_size", "tie_embeddings", "gate", "recurrent_bias")
# The probability of all new characters together, over that of the known ones, is at most this at first.
NEW_PROBABILITY = 1e-2


def load_donor(path: str | Path, *, keep_optimizer: bool = False) -> Loaded:
    """Load what a new run begins with: a state with "params" or "average", and perhaps "opt_state".

    Args:
        path: a run folder, its ``checkpoints`` folder, or one checkpoint's folder.
        keep_optimizer: load the optimizer's state as well, and the weights that it belongs to: those
            that were trained. Otherwise their moving average is loaded, where the run kept one.

    Raises:
        JaxcharError: no checkpoint there is whole, or the optimizer is one that was given in Python.
    """
    if keep_optimizer and peek(path).config.optimizer == "custom":
        raise JaxcharError(
            f"the run {str(path)!r} was trained with an optimizer that was given in Python, whose state "
            "cannot be taken over; leave --keep-optimizer out"
        )
    return load_checkpoint(path, _trained_structure if keep_optimizer else weights_structure)


def _trained_structure(metadata: Metadata) -> dict[str, Any]:
    state = state_structure(metadata)
    average = {} if state.average is None else {"average": state.average}
    return {"params": state.params, "opt_state": state.opt_state, **average}


def transfer(donor: Loaded, config: Config, state: TrainState, vocabulary: Vocabulary) -> TrainState:
    """Return a new run's first state with the weights of another run, and its optimizer's state if loaded.

    The step counter, the schedule, the carried state and all totals are those of the new run.

    Args:
        donor: what :func:`load_donor` returned.
        config: the new run's settings.
        state: the new run's first state.
        vocabulary: the new run's; it holds all characters of the donor's.

    Raises:
        JaxcharError: the weights or the optimizer's state do not fit the settings.
    """
    check_fit(donor, config)
    kept = vocabulary.encode(donor.metadata.vocabulary.symbols)
    weights = donor.state.get("params", donor.state.get("average"))
    params = _grown_weights(weights, state.params, kept)
    if "opt_state" in donor.state:
        state = state._replace(opt_state=_grown_optimizer(donor.state["opt_state"], state.opt_state, kept))
    average = None
    if state.average is not None:
        average = _grown_weights(donor.state.get("average", weights), state.average, kept)
    return state._replace(params=params, average=average)


def check_fit(donor: Loaded, config: Config) -> None:
    """Raise a JaxcharError where a donor's weights, or its optimizer's state, do not fit the settings."""
    _check_architecture(donor, config)
    if "opt_state" in donor.state:
        _check_optimizer(donor, config)


def explain_unknown(error: UnknownCharactersError, donor: Loaded, config: Config) -> UnknownCharactersError:
    """Return the error for a text with characters that the donor lacks, with what can be done about them."""
    said = str(error).rpartition("; ")[0]
    changed = [
        f"{name} {getattr(donor.metadata.config, name)!r}"
        for name in ("lowercase", "keep")
        if getattr(donor.metadata.config, name) != getattr(config, name)
    ]
    reduced = f" (its own text was reduced by {' and '.join(changed)})" if changed else ""
    return UnknownCharactersError(
        f"{said}; the model of {str(donor.path)!r} does not know them{reduced}: add them to it with "
        "--new-characters=add, or give a text without them"
    )


# ---- what does not fit ---------------------------------------------------------------------------


def _check_architecture(donor: Loaded, config: Config) -> None:
    differences = _differences(donor.metadata.config, config, ARCHITECTURE)
    if differences:
        raise JaxcharError(
            f"the weights of {str(donor.path)!r} do not fit these settings ({'; '.join(differences)}); "
            "use the settings that they were trained with"
        )


def _check_optimizer(donor: Loaded, config: Config) -> None:
    theirs = donor.metadata.config
    names = ["optimizer"]
    if theirs.optimizer == config.optimizer == "sgd" and bool(theirs.momentum) != bool(config.momentum):
        names.append("momentum")  # SGD has a state only with it
    differences = _differences(theirs, config, names)
    if differences:
        raise JaxcharError(
            f"the optimizer state of {str(donor.path)!r} does not fit these settings "
            f"({'; '.join(differences)}); use the same optimizer, or leave --keep-optimizer out"
        )


def _differences(theirs: Config, ours: Config, names: Sequence[str]) -> list[str]:
    """Return each of these settings in which two configurations differ, with both values."""
    return [
        f"{name}: {getattr(theirs, name)} there, {getattr(ours, name)} here"
        for name in names
        if getattr(theirs, name) != getattr(ours, name)
    ]


# ---- growing -------------------------------------------------------------------------------------


def _grown_weights(old: Any, fresh: Any, kept: np.ndarray) -> Any:
    """Return old weights with a place for every symbol of the new vocabulary.

    A new character is read as the mean of the known ones: its row of the input table is their mean row.
    Its logit is the mean m of their logits plus a constant c: its column of the head is their mean column.
    As the logarithm of the summed exponentials of V logits is at least m + log V, the K new characters
    together have at most K exp(c) / V times the probability of the known ones, after any text whatever.
    c is chosen such that this is NEW_PROBABILITY. So the loss on a text of known characters grows by
    less than NEW_PROBABILITY nats, which rows drawn at random cannot promise.

    Args:
        old: the donor's weights.
        fresh: weights in the new run's shapes.
        kept: [V], the new ids of the donor's symbols.
    """

    def new_rows(name: str, leaf: np.ndarray, axis: int, num_new: int) -> np.ndarray:
        mean = leaf.mean(axis=axis, keepdims=True, dtype=np.float64)
        is_bias = leaf.ndim == 1  # the head's, the one vector with an entry for every symbol
        return mean + np.log(NEW_PROBABILITY * len(kept) / num_new) if is_bias else mean

    return _grown(old, fresh, kept, new_rows)


def _grown_optimizer(old: Any, fresh: Any, kept: np.ndarray) -> Any:
    """Return an optimizer's state with zeros for new characters, its schedule back at the beginning."""
    # Clipping comes first in the chain and has no state. The new run may clip where the old one did not.
    *clipping, fresh_rule = fresh
    grown = _grown(old[-1], fresh_rule, kept, lambda *_: np.zeros(()))

    def begun_anew(part: Any, fresh_part: Any) -> Any:
        return fresh_part if _is_schedule(fresh_part) else part

    return (*clipping, jax.tree.map(begun_anew, grown, fresh_rule, is_leaf=_is_schedule))


def _is_schedule(part: Any) -> bool:
    return isinstance(part, optax.ScaleByScheduleState)


def _grown(old: Any, fresh: Any, kept: np.ndarray, new_rows: Any) -> Any:
    """Return a pytree of arrays in the shapes of ``fresh``, every number of ``old`` in its new place.

    Args:
        old: arrays in the donor's shapes.
        fresh: the same arrays in the new run's shapes; they differ along the axis of the symbols alone.
        kept: [V], the new ids of the donor's symbols.
        new_rows: ``(name, array, axis, K)`` -> what a new symbol begins with, broadcast along the axis.
    """
    grown = []
    before = named_leaves(old)
    for name, like in named_leaves(fresh).items():
        leaf = before[name]
        axes = [axis for axis in range(leaf.ndim) if leaf.shape[axis] != like.shape[axis]]
        if axes:
            (axis,) = axes
            leaf = np.asarray(leaf)
            larger = np.empty(like.shape, like.dtype)
            larger[...] = new_rows(name, leaf, axis, like.shape[axis] - len(kept))
            larger[(slice(None),) * axis + (kept,)] = leaf
            leaf = larger
        grown.append(jnp.array(leaf))
    return jax.tree.unflatten(jax.tree.structure(fresh), grown)

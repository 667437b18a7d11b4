"""A network in which some units are held: parameters in which nobody hears them, but their value is heard.

What a unit's output adds anywhere is its value times a row of a kernel. So the row becomes zero, and the row
times the value goes to the bias of the product. Nothing but numbers changes, and all that computes the
network computes this one. In a GRU the recurrent product has to have a bias of its own for it, because a gate
multiplies a part of the product: with a value other than 0, such a network needs the setting
``recurrent_bias``.

Letters: H hidden size, G gate columns, V vocabulary size, D features.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxchar.config import Config
from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.params import Params
from jaxchar.recurrence.cells import CELL_KINDS

MOST_VALUE = 10.0  # an output is between -1 and 1; more than some times that tells nothing


class HeldUnit(NamedTuple):
    """A unit whose output is held."""

    layer: int  # from 0
    unit: int  # from 0
    value: float = 0.0


def checked_units(units: Iterable[Any], config: Config) -> list[HeldUnit]:
    """Return held units, each once.

    Args:
        units: (layer, unit) or (layer, unit, value) each.
        config: of the network.

    Raises:
        JaxcharError: the network has no such unit, a value is no number from -10 to 10, a unit is given
            twice, or the cell is one of the user's own.
    """
    if config.cell not in CELL_KINDS:
        raise JaxcharError(
            f"units can be held in {', '.join(CELL_KINDS)}, but the cell is {config.cell!r}, whose equations "
            "jaxchar does not know"
        )
    held = [_checked(unit, config.layer_sizes) for unit in units]
    places = [unit[:2] for unit in held]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise JaxcharError(f"unit {twice[1]} of layer {twice[0]} is held twice; give one value for it")
    return held


def needs_recurrent_bias(config: Config, units: Iterable[HeldUnit]) -> bool:
    """Return whether a network can only hold these units with the setting ``recurrent_bias``."""
    return config.cell == "gru" and any(unit.value for unit in units)


def held_params(params: Params, units: Iterable[HeldUnit]) -> Params:
    """Return parameters of a network that computes as if units had been held; the given ones stay.

    The values of the units are heard from the first character on. The unit itself is still computed, as
    ``hidden_states`` shows it, but nothing depends on it.

    Args:
        params: as of ``model.params``; with ``recurrent_bias`` where :func:`needs_recurrent_bias`.
        units: see :func:`checked_units`.
    """
    params = jax.tree.map(lambda leaf: np.array(leaf, np.float32), params)
    layers, head = params["layers"], params["head"]
    for layer, unit, value in units:
        own = layers[layer]
        bias = "recurrent_bias" if "recurrent_bias" in own else "bias"
        own[bias] += value * _taken_out(own["recurrent_kernel"], unit)
        if layer + 1 < len(layers):
            above = layers[layer + 1]
            above["bias"] += value * _taken_out(above["input_kernel"], unit)
        elif "projection" in head:
            head["bias"] += value * (params["embedding"] @ _taken_out(head["projection"], unit))
        else:
            head["bias"] += value * _taken_out(head["kernel"], unit)
    return params


def _taken_out(kernel: np.ndarray, unit: int) -> np.ndarray:
    """Return a row of a kernel, which is zero afterwards."""
    row = kernel[unit].copy()
    kernel[unit] = 0
    return row


def _checked(unit: Any, sizes: tuple[int, ...]) -> HeldUnit:
    try:
        layer, number, value = HeldUnit(*unit)
    except TypeError:
        raise JaxcharError(f"a held unit must be (layer, unit, value), but it is {quoted(unit)}") from None
    if not _is_number(layer, len(sizes)):
        raise JaxcharError(
            f"the layer of a held unit must be 0 to {len(sizes) - 1}, but it is {quoted(layer)}"
        )
    if not _is_number(number, sizes[layer]):
        raise JaxcharError(
            f"the unit that is held in layer {layer} must be 0 to {sizes[layer] - 1}, but it is "
            f"{quoted(number)}"
        )
    is_value = isinstance(value, int | float | np.floating) and math.isfinite(value)
    if not is_value or abs(value) > MOST_VALUE:
        raise JaxcharError(
            f"the value of a held unit must be a number from {-MOST_VALUE:g} to {MOST_VALUE:g}, but it is "
            f"{quoted(value)}"
        )
    return HeldUnit(int(layer), int(number), float(value))


def _is_number(value: Any, below: int) -> bool:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_whole and 0 <= value < below

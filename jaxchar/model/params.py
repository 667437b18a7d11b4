"""The parameters of a network as a plain pytree, with names that do not depend on Flax.

    {"embedding": [V, D],                                only with input vectors
     "layers": [{"input_kernel": [D, G], "recurrent_kernel": [H, G], "bias": [G]}, ...],
     "head": {"kernel": [H, V], "bias": [V]}}

V vocabulary size, D features (V without input vectors), H hidden size, G gate columns. A kernel's columns are
the gates' blocks of H columns, side by side, in this order:

- LSTM (G = 4H): i, f, g, o: input gate, forget gate, candidate, output gate.
- GRU (G = 3H): r, z, n: reset gate, update gate, candidate; n = tanh(p_n + r q_n), h' = (1 - z) n + z h,
  where p = x W + b and q = h R, so the one bias is not multiplied by r. With the setting recurrent_bias, a
  layer also has "recurrent_bias": [G], and q = h R + recurrent_bias.
- RNN (G = H): tanh(x W + b + h R).

A tied head is {"projection": [H, D], "bias": [V]}: its logits are (h P) E^T + b with the embedding E. A layer
with a cell of one's own has the names that the cell's ``init`` gave.
"""

from collections import Counter
from typing import Any

import jax
from flax import nnx

from jaxchar.errors import JaxcharError, quoted

Params = dict[str, Any]

_NAMES: dict[tuple, str] = {("dense_i", "kernel"): "input_kernel", ("dense_h", "kernel"): "recurrent_kernel"}


def params_of(state: nnx.State) -> Params:
    """Return the parameters of a network, see the module; ``state`` is what ``nnx.split`` returns."""
    params: Params = {"layers": []}
    places = _places(state)
    for path, leaf in jax.tree.leaves_with_path(state):
        *parents, name = places[path]
        place: Any = params
        for parent in parents:
            if isinstance(place, list):
                place.extend({} for _ in range(parent + 1 - len(place)))
                place = place[parent]
            else:
                place = place.setdefault(parent, {})
        place[name] = leaf
    return params


def state_of(params: Params, like: nnx.State) -> nnx.State:
    """Return parameters as Flax keeps them.

    Args:
        params: as of :func:`params_of`.
        like: a state of the same network, or its shapes.

    Raises:
        JaxcharError: their names or shapes are not this network's.
    """
    expected = params_of(like)
    structures: list[Any] = [jax.tree.structure(tree) for tree in (params, expected)]
    if structures[0] != structures[1]:
        raise JaxcharError(
            f"params must be a pytree like model.params, {_outline(expected)}, but it is {_outline(params)}"
        )
    wrong = [
        f"{jax.tree_util.keystr(path)} must be {list(wanted.shape)}, but it is {list(jax.numpy.shape(given))}"
        for (path, wanted), given in zip(
            jax.tree.leaves_with_path(expected), jax.tree.leaves(params), strict=True
        )
        if jax.numpy.shape(given) != wanted.shape
    ]
    if wrong:
        raise JaxcharError(f"params{wrong[0]}; give arrays of the shapes that model.params has")

    places = _places(like)

    def given(path: tuple, _: Any) -> Any:
        place: Any = params
        for name in places[path]:
            place = place[name]
        return place

    return jax.tree.map_with_path(given, like)


def _places(state: nnx.State) -> dict[tuple, tuple[Any, ...]]:
    """Return where each leaf of Flax's state lies in the plain parameters, by its path."""
    places = {path: _names(path) for path, _ in jax.tree.leaves_with_path(state)}
    counts = Counter(places.values())
    for (
        path,
        names,
    ) in places.items():  # the one bias may be with either product; of two, one is the recurrent
        if counts[names] == 2 and "dense_h" in map(_key, path):
            places[path] = (*names[:-1], "recurrent_bias")
    return places


def _key(step: Any) -> Any:
    return getattr(step, "key", getattr(step, "name", None))


def _names(path: tuple) -> tuple[Any, ...]:
    """Return where a leaf of Flax's state lies in the plain parameters."""
    part, *rest = [_key(step) for step in path if not _is_value(step)]
    if part == "cells":
        number, *rest = rest
        own = rest[0] == "weights"
        return ("layers", number, *(rest[1:] if own else [_NAMES.get(tuple(rest), rest[-1])]))
    if part == "embedding":
        return ("embedding",)
    return (part, "projection") if rest[0] == "projection" else (part, *rest)


def _is_value(key: Any) -> bool:
    """Whether a step of a path leads from a variable of Flax to its value."""
    return isinstance(key, jax.tree_util.GetAttrKey)


def _outline(tree: Any) -> str:
    """Return the names in parameters, without the arrays."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{name}: {_outline(value)}" for name, value in list(tree.items())[:9]) + "}"
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(map(_outline, tree[:3])) + (", ..." if len(tree) > 3 else "") + "]"
    return "array" if hasattr(tree, "shape") else quoted(tree)

"""An optimizer of the user's: any Optax transformation that a run can be trained with, saved and resumed."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxchar.errors import JaxcharError, quoted

CUSTOM = "custom"  # the setting ``optimizer`` of a run whose optimizer was given in Python
NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # of an array in a checkpoint


def own_optimizer(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    """Return a user's transformation as training calls it.

    Its ``update`` is given the gradient, its state, the parameters, and the loss of the batch as ``value``,
    which ``optax.contrib.reduce_on_plateau`` and others ask for. Its state is made of plain arrays, as those
    that are read from a checkpoint are: random keys are kept as their numbers, and every array has a type
    of its own (none is "weak").

    Raises:
        JaxcharError: it is no such transformation.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise JaxcharError(
            "optimizer must be the name of one, or an optax.GradientTransformation such as "
            f"optax.adam(1e-3), but it is {quoted(optimizer)}"
        )
    with_extras = optax.with_extra_args_support(optimizer)

    def init(params: optax.Params) -> optax.OptState:
        return jax.tree.map(_plain, with_extras.init(params))

    def update(grads: Any, state: Any, params: Any = None, **extras: Any) -> tuple[Any, Any]:
        first = with_extras.init(params)  # only its structure is used; XLA leaves the rest out
        state = jax.tree.map(_as_it_was, state, first)
        updates, state = with_extras.update(grads, state, params, **extras)
        return updates, jax.tree.map(_plain, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _plain(leaf: Any) -> jax.Array:
    """Return an array of a state as it is saved."""
    leaf = jnp.asarray(leaf)
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf.astype(leaf.dtype)


def _as_it_was(leaf: Any, first: Any) -> Any:
    """Return what :func:`_plain` was made of; ``first`` is of the same kind."""
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(first)) if _is_key(first) else leaf


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def check_own_optimizer(optimizer: optax.GradientTransformationExtraArgs, params: Any) -> None:
    """Try a transformation on shapes alone.

    Args:
        optimizer: as :func:`own_optimizer` returns it.
        params: the parameters, or their shapes and types.

    Raises:
        JaxcharError: it fails, changes the shape of what it is given, or has a state that cannot be saved.
    """
    try:
        before = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(_updated(optimizer), params, before, params)
    except Exception as error:  # whatever a user's code raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise JaxcharError(
            f"the optimizer cannot be used: {reason}; it is called as update(gradient, state, params, "
            "value=loss)"
        ) from error
    for what, given, returned in (("updates", params, updates), ("state", before, after)):
        difference = difference_of(described(given), described(returned))
        if difference:
            raise JaxcharError(
                f"the optimizer cannot be used: it does not keep the shape of its {what}: {difference}"
            )
    leaves = described(before)
    if len(leaves) < len(jax.tree.leaves(before)):
        raise JaxcharError("the optimizer cannot be saved: two arrays of its state have the same name")
    for name in leaves:
        if NAME.fullmatch(f"opt_state.{name}") is None:
            raise JaxcharError(
                f"the optimizer cannot be saved: its state has an array {name!r}; name such parts with "
                "letters, digits and _ alone"
            )


def _updated(optimizer: optax.GradientTransformationExtraArgs) -> Any:
    def update(grads: Any, state: Any, params: Any) -> Any:
        return optimizer.update(grads, state, params, value=jnp.float32(0))

    return update


def described(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and type of every array of a pytree, by the names that a checkpoint gives them."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves)
    return {
        name.removesuffix(".value"): (tuple(np.shape(leaf)), str(leaf.dtype))
        for name, (_, leaf) in zip(names, leaves, strict=True)
    }


def difference_of(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the first difference between two results of :func:`described` in words; "" if there is none."""
    for name in [*before, *now]:
        if name not in now:
            return f"{name} was there, and is not now"
        if name not in before:
            return f"{name} was not there, and is now"
        if before[name] != now[name]:
            (shape, dtype), (new_shape, new_dtype) = before[name], now[name]
            return f"{name} was {dtype}{list(shape)}, and is {new_dtype}{list(new_shape)}"
    return ""

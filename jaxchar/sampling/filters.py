"""Drawing a character: temperature and filters on logits, and the noise that decides.

Letters: V vocabulary size.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxchar.config import SamplingParams

PAIRWISE_SYMBOLS = 256  # up to so many, comparing all with all is faster than sorting


class TracedParams(NamedTuple):
    """The numbers of a :class:`SamplingParams` as the compiled program takes them."""

    temperature: Any  # [] float32
    top_k: Any  # [] int32
    top_p: Any  # [] float32
    min_p: Any  # [] float32

    @classmethod
    def of(cls, config: SamplingParams) -> "TracedParams":
        """Return the numbers of a configuration."""
        return cls(
            np.float32(config.temperature),
            np.int32(config.top_k),
            np.float32(config.top_p),
            np.float32(config.min_p),
        )


def draw(logits: jax.Array, noise: jax.Array, params: TracedParams, filters: bool = True) -> jax.Array:
    """Draw an id from what the filters leave of ``softmax(logits / temperature)``.

    The largest sum of a scaled logit and Gumbel noise falls on a character with its softmax probability
    (Gumbel 1954; Maddison, Tarlow and Minka 2014). Here both are taken times the temperature, so that a
    temperature of 0 needs no case of its own: it leaves no noise, and the most probable character.

    Args:
        logits: [V].
        noise: [V] Gumbel noise.
        params: temperature and filters.
        filters: False promises that no filter is on, and saves looking for what it leaves out.

    Returns:
        [] int32.
    """
    if filters:
        below_best = logits - jnp.max(logits)  # 0 at the most: no temperature makes it overflow upwards
        scaled = below_best / jnp.maximum(params.temperature, jnp.finfo(jnp.float32).tiny)
        logits = jnp.where(filter_mask(scaled, params), logits, -jnp.inf)
    return jnp.argmax(logits + params.temperature * noise).astype(jnp.int32)


def filter_mask(scaled: jax.Array, params: TracedParams) -> jax.Array:
    """Return which characters the filters leave, [V] bool.

    In this order: temperature first (it is in ``scaled``), then

    top-k  the k most probable characters (Fan, Lewis and Dauphin 2018);
    top-p  of these, renormalised, the fewest most probable ones whose probabilities add up to at
           least p: the nucleus (Holtzman et al. 2020);
    min-p  of these, the ones with at least p times the probability of the most probable character
           (Nguyen et al. 2024).

    Characters exactly as probable as the last one that is left are left, too: a filter has no reason
    to prefer one of them. The most probable character is always left.

    Args:
        scaled: [V] logits over the temperature, the largest of them 0.
        params: top_k 0, top_p 1 and min_p 0 leave everything.
    """
    shares = jnp.exp(scaled)
    number_ahead = _sum_over_more_probable(scaled, jnp.ones_like(scaled))
    share_ahead = _sum_over_more_probable(scaled, shares)  # where top-k leaves a character, all are left
    left = (number_ahead < params.top_k) | (params.top_k == 0)
    in_nucleus = share_ahead < params.top_p * jnp.sum(shares, where=left)
    left &= in_nucleus | (params.top_p >= 1)
    return left & (scaled >= jnp.log(params.min_p))


def _sum_over_more_probable(scaled: jax.Array, weights: jax.Array) -> jax.Array:
    """Return, for each character, the sum of the weights of all that are more probable, [V]."""
    if len(scaled) <= PAIRWISE_SYMBOLS:
        return jnp.sum(jnp.where(scaled[None, :] > scaled[:, None], weights[None, :], 0), axis=1)
    order = jnp.argsort(-scaled)
    ahead = jnp.cumsum(weights[order]) - weights[order]
    return ahead[jnp.searchsorted(-scaled[order], -scaled)]  # of equals, the first: none is ahead of another

"""The loss of a whole text in one compiled call, as a training run asks for it again and again."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax import lax
from jax.sharding import Mesh

from jaxchar.ambient import random_key
from jaxchar.config import Config
from jaxchar.data.batches import Blocks, Streams, Windows
from jaxchar.model.loss import Means, MetricSums
from jaxchar.model.predictions import sums_over_batch
from jaxchar.parallel.devices import make_mesh, replicate, replicated, split_rows
from jaxchar.recurrence import native
from jaxchar.scoring.protocols import evaluation_batches
from jaxchar.tracing import traced_for


def make_evaluation(
    graphdef: nnx.GraphDef, batches: Windows | Streams | Blocks, mesh: Mesh | None = None
) -> Callable[[nnx.State, jax.Array], MetricSums]:
    """Return ``evaluate(params, ids) -> MetricSums`` over the whole text, in one call.

    The devices of the mesh share the rows of a batch where they can do so evenly; else each does it all. A
    process compiles it once for all models of one structure and all texts of one length.
    """
    return _evaluation(graphdef, batches, mesh or make_mesh(), native.identity())


@functools.lru_cache(16)
def _evaluation(
    graphdef: nnx.GraphDef, batches: Windows | Streams | Blocks, mesh: Mesh, _library: str
) -> Callable[[nnx.State, jax.Array], MetricSums]:
    evenly = batches.batch_size % mesh.size == 0
    stateful = isinstance(batches, Streams)
    no_key = random_key(0)  # no protocol shuffles

    def evaluate(params: nnx.State, ids: jax.Array) -> MetricSums:
        """Add up the predictions of every batch of the text."""
        model = nnx.merge(graphdef, params)
        zero_carry = model.initial_carry(batches.batch_size)

        def body(step: jax.Array, so_far: tuple[MetricSums, Any]) -> tuple[MetricSums, Any]:
            totals, carry = so_far
            batch = batches.batch(ids, step, no_key)
            batch = split_rows(batch, mesh) if evenly else batch
            new, carry = sums_over_batch(model, batch, carry if stateful else zero_carry, None)
            return totals.add(new), carry

        totals, _ = lax.fori_loop(0, batches.steps_per_epoch, body, (MetricSums.zero(), zero_carry))
        return totals

    traced = traced_for(mesh.devices.flat[0].platform)  # the model sees to its precision
    return jax.jit(traced(evaluate), out_shardings=replicated(mesh))


def make_validation(
    config: Config, graphdef: nnx.GraphDef, ids: jax.Array, mesh: Mesh
) -> Callable[[nnx.State], Means] | None:
    """Return ``validate(params) -> Means`` over the validation text by the configuration's protocol.

    Args:
        config: names the protocol.
        graphdef: the model's structure.
        ids: [N], the validation text; None is returned where N is 0.
        mesh: the devices to share the work.

    Raises:
        JaxcharError: the text is too short for a single prediction.
    """
    if len(ids) == 0:
        return None
    there = replicate(ids, mesh)
    evaluate = make_evaluation(graphdef, evaluation_batches(config, len(ids)), mesh)
    return lambda params: Means.of(evaluate(params, there))

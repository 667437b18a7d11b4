"""The recurrent kernel as threads read it: every number once, padding between them, and its parts sum up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxchar.recurrence.cuda_plan import laid_out
from jaxchar.recurrence.cuda_weights import packed


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("size", "blocks"), [(5, 1), (32, 1), (40, 2), (64, 4), (70, 8)])
@pytest.mark.parametrize("gates", [3, 4])
def test_every_number_is_there_once_and_the_rest_is_zero(size, blocks, gates, transposed):
    plan = laid_out(size, 1, blocks)
    numbers = np.arange(1, size * gates * size + 1)
    kernel = numbers.reshape(size, -1).astype(np.float32)
    parts = packed(jnp.asarray(kernel), gates, plan, 3, transposed=transposed)
    assert parts.shape == (blocks, 3 * plan.padded // 8, plan.threads, 8) and parts.dtype == jnp.bfloat16
    whole = np.asarray(parts, np.float32).reshape(blocks, -1, 3, plan.threads, 8).sum(2)
    found = np.sort(whole.ravel())
    np.testing.assert_array_equal(found[-len(numbers) :], numbers)  # three parts have all 24 bits
    assert not found[: -len(numbers)].any() and found.size == 4 * plan.padded**2


@pytest.mark.parametrize(("parts", "largest"), [(1, 2**-8), (2, 2**-16), (3, 2**-24)])
def test_parts_sum_to_the_number(parts, largest):
    kernel = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)
    found = jax.jit(lambda kernel: packed(kernel, 4, laid_out(16, 1, 1), parts, transposed=False))(kernel)
    sums = np.sort(np.asarray(found, np.float64).reshape(-1, parts, 64, 8).sum(1).ravel())
    errors = np.abs(sums / np.sort(kernel.ravel().astype(np.float64)) - 1)
    assert errors.max() <= largest
    assert errors.max() > largest / 8 or parts == 3

"""The noise of many texts: in C++ it has the bits that jax.random gives each of them alone."""

import jax
import numpy as np
import pytest

from jaxchar.recurrence import native
from jaxchar.sampling.noise import noise_of, noise_of_texts, noise_rows, text_keys
from jaxchar.tracing import traced_for


@pytest.mark.parametrize("has_library", [True, False])
@pytest.mark.parametrize("num_symbols", [1, 7, 65, 3_000])
def test_the_noise_of_texts_is_that_of_each_one_alone(num_symbols, has_library, monkeypatch):
    if has_library and not native.is_available():
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(native, "is_available", lambda: has_library)
    keys = text_keys(3, range(3))
    with traced_for("cpu"):
        together = jax.jit(lambda keys, first: noise_of_texts(keys, first, num_symbols))
        alone = jax.jit(lambda key, first: noise_of(key, first, num_symbols))
        for first in (0, 7 * noise_rows(num_symbols), 2**31 - 64):
            found = np.asarray(together(keys, np.int32(first)))
            expected = [np.asarray(alone(key, np.int32(first))) for key in keys]
            assert np.array_equal(found.view(np.uint32), np.array(expected).view(np.uint32))

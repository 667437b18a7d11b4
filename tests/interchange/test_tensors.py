"""The safetensors format: types of numbers, texts, and files that are not whole."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxchar.errors import JaxcharError
from jaxchar.interchange.network import floats
from jaxchar.interchange.tensors import looks_like_safetensors, read_safetensors, safetensors_file


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_type_of_floating_point_numbers_becomes_float32(dtype):
    array = np.asarray(jnp.asarray([[1.5, -2.0, 0.25]])).astype(jnp.dtype(dtype))
    data = safetensors_file({"a": array}, {"format": "pt"})
    arrays, texts = read_safetensors(data)
    assert texts == {"format": "pt"}
    assert floats(arrays["a"], "a").tolist() == [[1.5, -2.0, 0.25]]
    assert looks_like_safetensors(data[:9])


def test_whole_numbers_are_refused_by_name():
    with pytest.raises(JaxcharError, match="'steps' is of type 'I64'"):
        read_safetensors(safetensors_file({"steps": np.arange(3)}, {}))


def test_a_file_that_is_cut_off_is_refused():
    data = safetensors_file({"a": np.ones(5, np.float32)}, {})
    for end in (0, 5, 20, len(data) - 1):
        with pytest.raises(JaxcharError, match="no whole safetensors file"):
            read_safetensors(data[:end])

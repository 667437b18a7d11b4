"""What a program is traced for: precision and platform enter it, and no setting from outside does."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from runs import TINY

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.model.split import split_model
from jaxchar.tracing import Numerics, numerics, platform_of, traced_for
from jaxchar.training.step import make_program

PRECISIONS = ("highest", "tf32", "default")
SMALL = TINY.replace(hidden_size=8, seq_len=4, embedding_size=3, optimizer="muon")
V, N = 5, 400


def lowered(config, platform):
    """Return a training step as it is given to XLA for a platform."""
    program = make_program(config, V, N)
    steps = traced_for(platform, config.precision)(program.train_steps.__wrapped__.__wrapped__)
    state, ids = jax.eval_shape(program.initial_state), jax.ShapeDtypeStruct((N,), jnp.uint8)
    traced = jax.jit(steps).trace(state, ids, np.int32(0), program.seed)
    return traced.lower(lowering_platforms=({"gpu": "cuda"}.get(platform, platform),)).as_text()


def products(text):
    """Return what is said of each product's precision, once each."""
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(lines) > 3
    return {
        (re.findall(r"rhs_precision_type = (\w+)", line) + re.findall(r"precision = \[(\w+),", line))[0]
        for line in lines
    }


@pytest.mark.parametrize(
    ("implementation", "platform", "precision", "expected"),
    [
        ("fused", "gpu", "highest", "HIGHEST"),
        pytest.param("fused", "gpu", "tf32", "tf32", marks=pytest.mark.slow),
        ("fused", "gpu", "default", "DEFAULT"),
        ("scan", "gpu", "tf32", "tf32"),
        ("scan", "tpu", "highest", "HIGHEST"),
    ],
)
def test_every_product_has_the_precision_of_the_setting(implementation, platform, precision, expected):
    config = SMALL.replace(implementation=implementation, precision=precision)
    assert products(lowered(config, platform)) == {expected}


@pytest.mark.parametrize(
    "config",
    [
        SMALL.replace(implementation="fused"),
        pytest.param(SMALL.replace(implementation="scan", dtype="bfloat16"), marks=pytest.mark.slow),
    ],
)
def test_on_a_processor_every_precision_is_the_same_program(config):
    allowed = [p for p in PRECISIONS if config.dtype == "float32" or p != "tf32"]
    programs = {lowered(config.replace(precision=precision), "cpu") for precision in allowed}
    assert len(programs) == 1 and products(programs.pop()) == {"DEFAULT"}


def test_a_precision_from_outside_changes_no_product_of_a_model_and_its_gradient():
    config = SMALL.replace(implementation="fused")
    graphdef, params = split_model(config, V)

    def loss(params):
        model = nnx.merge(graphdef, params)
        return model(jnp.zeros((2, 4), jnp.int32), model.initial_carry(2))[0].sum()

    def lowered_with(setting):
        with traced_for("gpu"), jax.default_matmul_precision(setting):
            return jax.jit(jax.grad(loss)).trace(params).lower(lowering_platforms=("cuda",)).as_text()

    assert products(lowered_with("bfloat16")) == {"HIGHEST"}
    assert lowered_with("bfloat16") == lowered_with("highest")


def test_jit_traces_anew_for_another_platform_and_precision():
    seen = []

    @jax.jit
    def function(x):
        seen.append(numerics())
        return x

    function(1.0)
    with traced_for("gpu", "tf32"):
        function(1.0)
        with traced_for("cpu"):
            function(1.0)
    function(1.0)
    assert seen == [Numerics("cpu", "highest"), Numerics("gpu", "tf32"), Numerics("cpu", "tf32")]


def test_the_platform_is_that_of_the_arrays():
    assert platform_of({"a": jnp.ones(1)}) == platform_of({"a": 1.0}) == "cpu"


def test_tf32_is_for_float32():
    with pytest.raises(JaxcharError, match="precision='tf32' is for products of float32"):
        Config(dtype="bfloat16", precision="tf32")

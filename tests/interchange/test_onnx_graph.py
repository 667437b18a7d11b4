"""ONNX: what its runtime computes from our file."""

import json

import numpy as np
import pytest

pytest.importorskip("onnx")
from foreign import OURS, SYMBOLS, our_logits, random_ids, random_model

import jaxchar


@pytest.mark.parametrize("options", OURS)
def test_the_runtime_has_our_logits_also_when_a_text_comes_in_two_pieces(options, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = random_model(**options)
    weights, _, vocabulary, _ = jaxchar.save(model, tmp_path / "m.onnx")
    session = runtime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    table = json.loads(vocabulary.read_text())
    text = "".join(SYMBOLS[i] for i in random_ids(25))
    state = {
        i.name: np.zeros((1, 1, i.shape[2]), np.float32) for i in session.get_inputs() if i.name != "ids"
    }
    logits = []
    for piece in (text[:10], text[10:]):
        found = session.run(None, {"ids": np.array([[table[c] for c in piece]]), **state})
        named = dict(zip((output.name for output in session.get_outputs()), found, strict=True))
        logits.append(named.pop("logits")[0])
        state = {name.removesuffix("_after"): array for name, array in named.items()}
    np.testing.assert_allclose(np.concatenate(logits), our_logits(model, text), atol=1e-5)

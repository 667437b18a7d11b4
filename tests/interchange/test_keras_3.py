"""Keras 3: archives and weights, there and back, and with Keras itself where it is installed."""

import io
import json
import os

import numpy as np
import pytest

pytest.importorskip("h5py")
from foreign import OURS, SYMBOLS, V, model_of, our_logits, random_ids, random_model, theirs_from

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.interchange import hdf5, hdf5_child
from jaxchar.interchange.reading import ImportOptions, read_model


@pytest.fixture(autouse=True)
def read_here(monkeypatch):
    """Read these files, which are whole, without a process for each."""
    monkeypatch.setattr(hdf5, "_output_of_child", hdf5_child.output_for)


@pytest.fixture(scope="module")
def keras():
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "jax"
    yield pytest.importorskip("keras")
    if before is None:
        del os.environ["KERAS_BACKEND"]


def imported(path, tmp_path, **options):
    (tmp_path / "vocabulary.json").write_text(
        json.dumps({c: i for i, c in enumerate(SYMBOLS)}), encoding="utf-8"
    )
    return model_of(
        read_model(path, ImportOptions(vocabulary=str(tmp_path / "vocabulary.json"), **options)).model
    )


@pytest.mark.parametrize("options", OURS)
def test_a_network_there_and_back_has_the_same_logits(options, tmp_path):
    model = random_model(**options)
    weights, *_ = jaxchar.save(model, tmp_path / "m.keras")
    vocabulary = tmp_path / "vocabulary.json"
    back = model_of(read_model(weights, ImportOptions(vocabulary=str(vocabulary))).model)
    text = "".join(SYMBOLS[i] for i in random_ids(30))
    np.testing.assert_allclose(our_logits(back, text), our_logits(model, text), atol=1e-5)
    assert back.config.gate == model.config.gate or model.config.cell == "rnn"


@pytest.mark.parametrize("options", OURS)
def test_keras_reads_what_we_write_and_has_our_logits(options, tmp_path, keras):
    model = random_model(**options)
    weights, _, vocabulary, _ = jaxchar.save(model, tmp_path / "m.keras")
    theirs = keras.models.load_model(weights)
    table = json.loads(vocabulary.read_text())
    text = "".join(SYMBOLS[i] for i in random_ids(20))
    ids = np.array([[table[c] for c in text]])
    inputs = ids if model.config.embedding_size else np.eye(V, dtype=np.float32)[ids]
    np.testing.assert_allclose(np.asarray(theirs(inputs))[0], our_logits(model, text), atol=1e-5)


def test_a_model_of_windows_is_written_with_one_prediction_for_each(tmp_path, keras):
    model = random_model("lstm", (6,), batching="windows", return_sequences=False, seq_len=9)
    theirs = keras.models.load_model(jaxchar.save(model, tmp_path / "m.keras")[0])
    assert theirs.input_shape == (None, 9, V)
    assert theirs.output_shape == (None, V)


def theirs_of(keras, kind, gate, embedding, every_step=True, sizes=(6, 5)):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((None,) if embedding else (8, V))]
    layers += [keras.layers.Embedding(V, embedding)] if embedding else []
    for number, size in enumerate(sizes, start=1):
        options = {} if kind == "SimpleRNN" else {"recurrent_activation": gate}
        every = every_step or number < len(sizes)
        layers.append(
            getattr(keras.layers, kind)(
                size, return_sequences=every, bias_initializer="random_normal", **options
            )
        )
        layers.append(keras.layers.Dropout(0.2))
    layers.append(keras.layers.Dense(V))
    layers.append(keras.layers.Activation("softmax"))
    return keras.Sequential(layers)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize(
    ("kind", "gate", "embedding"),
    [("LSTM", "sigmoid", 4), ("LSTM", "hard_sigmoid", 0), ("GRU", "sigmoid", 0), ("SimpleRNN", None, 4)],
)
def test_a_model_of_keras_has_the_same_predictions_and_loss_here(
    kind, gate, embedding, suffix, tmp_path, keras
):
    theirs = theirs_of(keras, kind, gate, embedding)
    path = tmp_path / f"m{suffix}"
    if suffix == ".weights.h5":
        theirs.save_weights(path)
    else:
        theirs.save(path)
    options = {"gate": gate} if suffix == ".weights.h5" and gate else {}
    model = imported(path, tmp_path, **options)
    ids = random_ids(8)
    inputs = ids[None] if embedding else np.eye(V, dtype=np.float32)[ids][None]
    expected = np.log(np.asarray(theirs(inputs, training=False))[0])
    text = "".join(SYMBOLS[i] for i in ids)
    logits = our_logits(model, text)
    logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(logits, theirs_from(model, expected), atol=1e-5)
    loss = -expected[np.arange(7), ids[1:]].mean()
    assert model.score(text).surprises.mean() == pytest.approx(loss, abs=1e-4)


def test_windows_and_their_length_are_found_in_the_file(tmp_path, keras):
    theirs_of(keras, "LSTM", "sigmoid", 0, every_step=False).save(tmp_path / "m.keras")
    config = imported(tmp_path / "m.keras", tmp_path).config
    assert (config.batching, config.seq_len, config.return_sequences) == ("windows", 8, False)


def test_a_chain_of_the_functional_kind_is_read_and_a_fork_is_refused(tmp_path, keras):
    inputs = keras.Input((None,))
    x = keras.layers.Embedding(V, 4)(inputs)
    x = keras.layers.LSTM(5, return_sequences=True)(x)
    keras.Model(inputs, keras.layers.Dense(V)(x)).save(tmp_path / "chain.keras")
    assert imported(tmp_path / "chain.keras", tmp_path).config.layer_sizes == (5,)
    y = keras.layers.LSTM(5, return_sequences=True)(x)
    keras.Model(inputs, keras.layers.Dense(V)(keras.layers.Add()([x, y]))).save(tmp_path / "fork.keras")
    with pytest.raises(JaxcharError, match="must be a chain"):
        imported(tmp_path / "fork.keras", tmp_path)


def test_the_same_model_is_the_same_file(tmp_path):
    model = random_model("lstm", (6,))
    first, *_ = jaxchar.save(model, tmp_path / "a" / "m.keras")
    second, *_ = jaxchar.save(model, tmp_path / "b" / "m.keras")
    assert first.read_bytes() == second.read_bytes()
    assert io.BytesIO(first.read_bytes()).read(2) == b"PK"

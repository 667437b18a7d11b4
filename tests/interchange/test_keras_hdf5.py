"""Keras 1 and 2: files as they wrote them, and their equations in float64."""

import json

import numpy as np
import pytest

pytest.importorskip("h5py")
from foreign import (
    GATES,
    SYMBOLS,
    Foreign,
    V,
    h5_bytes,
    keras_1_or_2,
    log_softmax,
    model_of,
    our_logits,
    random_ids,
    theirs_from,
)

from jaxchar.errors import JaxcharError
from jaxchar.interchange import hdf5, hdf5_child
from jaxchar.interchange.reading import ImportOptions, read_model


@pytest.fixture(autouse=True)
def read_here(monkeypatch):
    """Read these files, which are whole, without a process for each."""
    monkeypatch.setattr(hdf5, "_output_of_child", hdf5_child.output_for)


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(SYMBOLS), encoding="utf-8")
    return str(path)


def read(data, tmp_path, vocabulary, **options):
    path = tmp_path / "model"
    path.write_bytes(data)
    return model_of(read_model(path, ImportOptions(vocabulary=vocabulary, **options)).model)


def check_logits(model, foreign, gate):
    ids = random_ids(30)
    expected = theirs_from(model, foreign.logits(ids, GATES[gate]))
    np.testing.assert_allclose(our_logits(model, "".join(SYMBOLS[i] for i in ids)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("keras", "cell", "gate", "sizes", "embedding"),
    [
        (1, "lstm", "hard_sigmoid", (6,), 0),
        (1, "lstm", "hard_sigmoid", (6, 5), 4),
        (1, "lstm", "sigmoid", (5,), 0),
        (1, "rnn", "hard_sigmoid", (6, 6), 0),
        (2, "lstm", "hard_sigmoid", (6,), 4),
        (2, "lstm", "sigmoid", (6, 5, 4), 0),
        (2, "gru", "sigmoid", (6, 5), 0),
        (2, "gru", "hard_sigmoid", (5,), 4),
        (2, "rnn", "sigmoid", (6,), 0),
    ],
)
def test_logits_equal_the_equations_of_keras(keras, cell, gate, sizes, embedding, tmp_path, vocabulary):
    foreign = Foreign(cell, sizes, embedding)
    data = keras_1_or_2(foreign, keras=keras, gate=gate, every_step=True, named=True)
    model = read(data, tmp_path, vocabulary)
    check_logits(model, foreign, gate)
    assert model.config.batching == "streams"
    assert model.config.layer_sizes == sizes


@pytest.mark.parametrize("keras", [1, 2])
def test_weights_alone_are_read_with_the_gate_that_is_given(keras, tmp_path, vocabulary):
    foreign = Foreign("lstm", (6, 5), 4)
    data = keras_1_or_2(foreign, keras=keras, settings=False)
    gate = {} if keras == 1 else {"gate": "hard_sigmoid"}
    check_logits(read(data, tmp_path, vocabulary, **gate), foreign, "hard_sigmoid")


def test_weights_alone_of_keras_2_do_not_tell_the_gate(tmp_path, vocabulary):
    with pytest.raises(JaxcharError, match="give gate='sigmoid'"):
        read(keras_1_or_2(Foreign("lstm", (6,)), keras=2, settings=False), tmp_path, vocabulary)


def test_fused_arrays_of_keras_1_are_in_the_order_i_f_c_o(tmp_path, vocabulary):
    foreign = Foreign("lstm", (6,))
    check_logits(
        read(keras_1_or_2(foreign, keras=1, fused=True), tmp_path, vocabulary, seq_len=9),
        foreign,
        "hard_sigmoid",
    )


def test_the_last_state_of_a_window_predicts_as_in_keras(tmp_path, vocabulary):
    foreign, steps = Foreign("lstm", (8,)), 7
    model = read(keras_1_or_2(foreign, keras=1, steps=steps), tmp_path, vocabulary)
    assert (model.config.batching, model.config.seq_len, model.config.return_sequences) == (
        "windows",
        steps,
        False,
    )
    ids = random_ids(40)
    expected = [
        -log_softmax(foreign.logits(ids[max(0, end - steps) : end], GATES["hard_sigmoid"])[-1])[ids[end]]
        for end in range(1, len(ids))
    ]
    found = model.score("".join(SYMBOLS[i] for i in ids)).surprises
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_fast_layer_for_gpus_has_its_kernels_laid_out_another_way(tmp_path, vocabulary):
    """CuDNNLSTM: each gate's kernel transposed, and two biases one after the other."""
    foreign = Foreign("lstm", (6,))
    kernel, recurrent, bias = foreign.layers[0]
    kernels = [block.T.reshape(block.shape, order="C") for block in np.hsplit(kernel, 4)]
    arrays = {
        "kernel:0": np.hstack(kernels),
        "recurrent_kernel:0": np.hstack([block.T for block in np.hsplit(recurrent, 4)]),
        "bias:0": np.concatenate([bias - 1, np.ones_like(bias)]),
    }

    def write(file):
        file.attrs["keras_version"] = "2.2.4"
        file.attrs["layer_names"] = [b"cu", b"dense"]
        for layer, contents in (
            ("cu", arrays),
            ("dense", {"kernel:0": foreign.head, "bias:0": foreign.head_bias}),
        ):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{part}".encode() for part in contents]
            for part, array in contents.items():
                group[f"{layer}/{part}"] = array

    check_logits(read(h5_bytes(write), tmp_path, vocabulary), foreign, "sigmoid")


def changed(data, change):
    import io

    import h5py

    file = io.BytesIO(data)
    with h5py.File(file, "r+") as opened:
        model = json.loads(opened.attrs["model_config"])
        change(model["config"])
        opened.attrs["model_config"] = json.dumps(model)
    return file.getvalue()


@pytest.mark.parametrize(
    ("cell", "keras", "change", "said"),
    [
        (
            "lstm",
            1,
            lambda layers: layers[0]["config"].update(activation="relu"),
            "'lstm_1' (LSTM) has activation",
        ),
        ("lstm", 1, lambda layers: layers[0]["config"].update(go_backwards=True), "go_backwards"),
        (
            "lstm",
            2,
            lambda layers: layers[0]["config"].update(recurrent_activation="relu"),
            "gate function 'relu'",
        ),
        (
            "lstm",
            2,
            lambda layers: layers[0].update(class_name="Bidirectional"),
            "'lstm_1' (Bidirectional) has no",
        ),
        (
            "lstm",
            2,
            lambda layers: layers[0]["config"].update(return_sequences=False),
            "'lstm_2' (LSTM) reads only",
        ),
        (
            "lstm",
            2,
            lambda layers: layers[-1]["config"].update(activation="tanh"),
            "'dense_1' (Dense) has the activation",
        ),
        (
            "gru",
            2,
            lambda layers: layers[0]["config"].update(reset_after=False),
            "'gru_1' (GRU) applies the reset gate before",
        ),
        (
            "lstm",
            2,
            lambda layers: layers.insert(1, {"class_name": "Lambda", "config": {"name": "f"}}),
            "'f' (Lambda) has no",
        ),
        ("lstm", 2, lambda layers: layers[1].update(class_name="GRU"), "'lstm_2' (GRU)"),
        ("lstm", 2, lambda layers: layers.pop(), "no Dense layer"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_layer(cell, keras, change, said, tmp_path, vocabulary):
    data = keras_1_or_2(Foreign(cell, (6, 5)), keras=keras, every_step=True)
    with pytest.raises(JaxcharError) as raised:
        read(changed(data, change), tmp_path, vocabulary)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_gru_of_keras_1_is_refused(tmp_path, vocabulary):
    def write(file):
        file.attrs["layer_names"] = [b"gru_1"]
        group = file.create_group("gru_1")
        names = [f"gru_1_{part}_{gate}" for gate in "zrh" for part in "WUb"]
        group.attrs["weight_names"] = [name.encode() for name in names]
        for name in names:
            group[name] = np.zeros({"W": (V, 3), "U": (3, 3), "b": (3,)}[name[6]], np.float32)

    with pytest.raises(JaxcharError, match="reset gate before"):
        read(h5_bytes(write), tmp_path, vocabulary)

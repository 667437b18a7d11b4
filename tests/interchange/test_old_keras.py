"""Keras 0.3 to 2.2: every way in which they wrote a model, imported, and compared with their equations."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py")
from foreign import GATES, SYMBOLS, Foreign, V, log_softmax, model_of, our_logits, random_ids, theirs_from
from old_keras import keras_0_3, keras_file

import jaxchar
from jaxchar import evaluate, import_model, sample, train
from jaxchar.errors import JaxcharError
from jaxchar.interchange import hdf5, hdf5_child
from jaxchar.interchange.reading import ImportOptions, read_model

NETWORKS = [("lstm", (6,), 0), ("lstm", (6, 5), 4), ("lstm", (6, 6, 6), 0), ("rnn", (6, 5), 0)]
WAYS = {
    "0.3": lambda f: keras_0_3(f),
    "0.3, TimeDistributedDense": lambda f: keras_0_3(f, head="TimeDistributedDense", softmax_apart=True),
    "1.0 weights, Theano": lambda f: keras_file(
        f, 1, settings=False, head="TimeDistributedDense", softmax_apart=True
    ),
    "1.0 weights, TensorFlow": lambda f: keras_file(f, 1, settings=False, tensorflow=True),
    "1.0 weights without names": lambda f: keras_file(f, 1, settings=False, unnamed=True),
    "1.0 weights, one array for all gates": lambda f: keras_file(f, 1, settings=False, fused=True),
    "1.0 model without a version": lambda f: keras_file(f, 1),
    "1.2 model": lambda f: keras_file(f, 1, version="1.2.2", tensorflow=True),
    "1.2 model, texts as str": lambda f: keras_file(
        f, 1, version="1.2.2", text=str, fused=True, head="TimeDistributed", softmax_apart=True
    ),
    "1.2 stateful": lambda f: keras_file(f, 1, version="1.2.2", steps=1, stateful=True),
    "2.0 model": lambda f: keras_file(f, 2, version="2.0.4"),
    "2.0 model without a version": lambda f: keras_file(f, 2, text=str),
    "2.2 model": lambda f: keras_file(f, 2, version="2.2.4", wrapped=True, head="TimeDistributed"),
}


@pytest.fixture
def read_here(monkeypatch):
    """Read these files, which are whole, without a process for each."""
    monkeypatch.setattr(hdf5, "_output_of_child", hdf5_child.output_for)


def read(data, tmp_path, **options):
    (tmp_path / "model").write_bytes(data)
    (tmp_path / "v.json").write_text(json.dumps(SYMBOLS), encoding="utf-8")
    return model_of(
        read_model(tmp_path / "model", ImportOptions(vocabulary=str(tmp_path / "v.json"), **options)).model
    )


def check_logits(model, foreign, gate="hard_sigmoid"):
    ids = random_ids(30)
    expected = theirs_from(model, foreign.logits(ids, GATES[gate]))
    np.testing.assert_allclose(our_logits(model, "".join(SYMBOLS[i] for i in ids)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "network", [pytest.param(n, marks=() if n in NETWORKS[1::2] else pytest.mark.slow) for n in NETWORKS]
)
@pytest.mark.parametrize("way", WAYS)
def test_logits_equal_the_equations_of_keras(way, network, tmp_path, read_here):
    foreign = Foreign(*network)
    model = read(WAYS[way](foreign), tmp_path)
    check_logits(model, foreign)
    assert model.config.batching == "streams"
    assert model.config.layer_sizes == network[1]


@pytest.mark.parametrize("write", [keras_0_3, lambda f: keras_file(f, 1, settings=False)])
def test_weights_alone_have_the_gate_of_their_time_unless_another_is_given(write, tmp_path, read_here):
    foreign = Foreign("lstm", (6,))
    check_logits(read(write(foreign), tmp_path), foreign, "hard_sigmoid")
    check_logits(read(write(foreign), tmp_path, gate="sigmoid"), foreign, "sigmoid")


@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize("keras", [1, 2])
def test_windows_are_found_with_their_length_and_reduction(keras, every_step, tmp_path, read_here):
    data = keras_file(Foreign("lstm", (6, 5)), keras, version=f"{keras}.2", steps=9, every_step=every_step)
    config = read(data, tmp_path).config
    assert (config.batching, config.seq_len, config.return_sequences) == ("windows", 9, every_step)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda: nameless(9, (V, 6), (6, 6), (6,)), "'layer_0' (GRU) applies the reset gate before"),
        (lambda: nameless(4, (V, 6), (6, 6), (6,)), "'layer_0' has 4 arrays whose names say nothing"),
        (lambda: nameless(2, (V, 6), (6,)), "'layer_0' (Dense) has no counterpart"),
    ],
)
def test_what_does_not_fit_of_keras_0_is_one_line_that_names_the_layer(write, said, tmp_path, read_here):
    with pytest.raises(JaxcharError) as raised:
        read(write(), tmp_path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def nameless(number, *shapes):
    from foreign import h5_bytes

    def write(file):
        file.attrs["nb_layers"] = 1
        for place in range(number):
            file[f"layer_0/param_{place}"] = np.zeros(shapes[place % len(shapes)], np.float32)

    return h5_bytes(write)


# ---- the words generator's own files -------------------------------------------------------------

STEPS, SIZE = 16, 12
CHARACTERS = "e tao\nin,shr.d'l:-u"  # as a set gave them to that process


def pickles():
    """Yield the words generator's dictionary as Python 2 and 3 wrote it, by protocol and direction."""
    by_id = dict(enumerate(CHARACTERS))
    for protocol in range(6):
        yield pickle.dumps(by_id, protocol)
    yield pickle.dumps({symbol: number for number, symbol in by_id.items()}, 2)
    text = b"".join(b"sI%d\nS%s\np%d\n" % (i, repr(c).encode(), i + 1) for i, c in by_id.items())
    yield b"(dp0\n" + text[1:] + b"s."  # protocol 0 of Python 2, str
    text = b"".join(
        b"sI%d\nV%s\np%d\n" % (i, c.replace("\n", "\\u000a").encode(), i + 1) for i, c in by_id.items()
    )
    yield b"(dp0\n" + text[1:] + b"s."  # the same, unicode
    items = b"".join(b"K%cU\x01%cq%c" % (i, ord(c), i + 2) for i, c in by_id.items())
    yield b"\x80\x02}q\x01(" + items + b"u."  # protocol 2 of Python 2, str


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Return the network, in a folder with the words generator's two files and a text with capitals."""
    foreign = Foreign("lstm", (SIZE,), v=len(CHARACTERS))
    monkeypatch.setattr("old_keras.V", len(CHARACTERS))
    data = keras_file(foreign, 1, version="1.2.2", steps=STEPS, every_step=False, tensorflow=True)
    (tmp_path / "keras_char_RNN").write_bytes(data)
    (tmp_path / "dic_used.pkl").write_bytes(pickle.dumps(dict(enumerate(CHARACTERS)), 3))
    rng = np.random.default_rng(5)
    (tmp_path / "text.txt").write_text("".join(rng.choice(list(CHARACTERS.upper() + "&$3"), 500)))
    monkeypatch.chdir(tmp_path)
    return foreign


def output(command, line, capsys):
    command.main(arguments=line.split())
    return capsys.readouterr().out


def test_the_files_of_the_words_generator_are_imported_written_with_evaluated_and_resumed(words, capsys):
    import_model.main(
        ["keras_char_RNN", "--vocabulary", "dic_used.pkl", "--fill", " ", "--run-dir", "runs/w"]
    )
    assert "reads windows of 16 characters" in capsys.readouterr().out
    assert len(output(sample, "runs/w --length 40 --seed 1", capsys).rstrip("\n")) <= 41
    reduced = [c if c in CHARACTERS else " " for c in Path("text.txt").read_text().lower()]
    ids = np.array([CHARACTERS.index(c) for c in reduced])
    logits = np.array(
        [words.logits(ids[s : s + STEPS], GATES["hard_sigmoid"])[-1] for s in range(len(ids) - STEPS)]
    )
    targets = ids[STEPS:]
    found = json.loads(output(evaluate, "runs/w --corpus text.txt --json", capsys))["splits"]["text"]
    assert found["predictions"] == len(targets)
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == targets).mean(), abs=1e-12)
    loss = -log_softmax(logits)[np.arange(len(targets)), targets].mean()
    assert found["loss"] == pytest.approx(loss, abs=1e-5)
    output(train, "text.txt --run-dir runs/w --resume --max-steps 2", capsys)
    output(train, "--run-dir runs/w --resume --max-steps 3", capsys)  # it knows its text now
    assert Path(jaxchar.load("runs/w", "last").config.sources[0]).name == "text.txt"
    after = json.loads(output(evaluate, "runs/w --corpus text.txt --json", capsys))
    (split,) = after["splits"].values()
    assert (after["step"], split["loss"] < loss) == (3, True)


@pytest.mark.parametrize("content", list(pickles()))
def test_its_dictionary_is_read_as_any_python_wrote_it(content, words, tmp_path, read_here):
    (tmp_path / "dic_used.pkl").write_bytes(content)
    made = read_model("keras_char_RNN", ImportOptions(vocabulary="dic_used.pkl"))
    model = model_of(made.model)
    ids = random_ids(20, v=len(CHARACTERS))
    text = "".join(CHARACTERS[i] for i in ids)
    expected = theirs_from(model, words.logits(ids, GATES["hard_sigmoid"]), list(CHARACTERS))
    np.testing.assert_allclose(our_logits(model, text), expected, atol=1e-5)
    assert (model.config.lowercase, model.config.gate) == (True, "hard_sigmoid")

"""State dictionaries: PyTorch's layout in float64, and PyTorch itself where it is installed."""

import io
import json

import numpy as np
import pytest
from foreign import OURS, SYMBOLS, Foreign, V, model_of, our_logits, random_ids, random_model, theirs_from

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.interchange.model_card import torch_program
from jaxchar.interchange.network import in_code_point_order, model_settings
from jaxchar.interchange.ours import Described
from jaxchar.interchange.parameters import from_params, to_params
from jaxchar.interchange.reading import ImportOptions, read_model
from jaxchar.interchange.tensors import safetensors_file
from jaxchar.interchange.torch_state import read_state_dict, state_dict

NETWORKS = [
    ("lstm", (6,), 0),
    ("lstm", (6, 5), 4),
    ("gru", (6, 6), 0),
    ("gru", (5,), 4),
    ("rnn", (6, 5, 4), 4),
]


def model_from(arrays):
    network, vocabulary = in_code_point_order(read_state_dict(arrays).network, SYMBOLS)
    config = jaxchar.Config(**model_settings(network, None))
    return model_of(Described(config, vocabulary, to_params(network, config)))


@pytest.mark.parametrize(("cell", "sizes", "embedding"), NETWORKS)
def test_logits_equal_the_equations_of_pytorch(cell, sizes, embedding):
    foreign, ids = Foreign(cell, sizes, embedding), random_ids(30)
    model = model_from(foreign.torch_arrays())
    found = our_logits(model, "".join(SYMBOLS[i] for i in ids))
    np.testing.assert_allclose(found, theirs_from(model, foreign.logits(ids)), atol=1e-5)


def test_modules_of_one_layer_each_and_wrappers_are_recognised():
    foreign = Foreign("gru", (6, 5), 4)
    names = {
        "rnn.weight_ih_l0": "module.rnn.2.weight_ih_l0",
        "rnn.weight_ih_l1": "module.rnn.10.weight_ih_l0",
    }
    arrays = {}
    for name, array in foreign.torch_arrays().items():
        for number, module in ((0, "module.rnn.2."), (1, "module.rnn.10.")):
            if name.endswith(f"_l{number}"):
                name = name.replace("rnn.", module).replace(f"_l{number}", "_l0")
        arrays[name] = array
    arrays = dict(sorted(arrays.items()))  # 10 before 2
    assert set(names.values()) <= set(arrays)
    ids = random_ids(20)
    model = model_from(arrays)
    found = our_logits(model, "".join(SYMBOLS[i] for i in ids))
    np.testing.assert_allclose(found, theirs_from(model, foreign.logits(ids)), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update({"rnn.weight_ih_l0_reverse": a["rnn.weight_ih_l0"]}), "reads backwards"),
        (lambda a: a.update({"rnn.weight_hr_l0": a["rnn.weight_hh_l0"]}), "proj_size"),
        (lambda a: a.update({"norm.weight": a["decoder.bias"]}), "'norm.weight'"),
        (lambda a: a.update({"conv.weight": a["decoder.weight"][None]}), "'conv.weight'"),
        (lambda a: a.pop("rnn.weight_hh_l0"), "'rnn.l0' has no matrix weight_hh"),
        (lambda a: a.pop("decoder.weight"), "no place"),
        (lambda a: [a.pop(name) for name in list(a) if name.startswith("rnn")], "no recurrent layer"),
        (lambda a: a.update({"decoder.bias": a["decoder.bias"] * np.nan}), "not finite"),
        (lambda a: a.update({"decoder.bias": a["decoder.bias"].astype(int)}), "floating-point"),
        (
            lambda a: a.update({"rnn.weight_hh_l0": a["rnn.weight_hh_l0"][:-1]}),
            "'rnn.l0' has recurrent weights",
        ),
        (lambda a: a.update({"encoder.weight": a["encoder.weight"][:-1]}), "embedding has"),
    ],
)
def test_what_does_not_fit_is_one_line(change, said):
    arrays = Foreign("lstm", (6,), 4).torch_arrays()
    change(arrays)
    with pytest.raises(JaxcharError) as raised:
        read_state_dict(arrays)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", OURS)
def test_a_network_there_and_back_has_the_same_bits(options):
    model = random_model(**options)
    network = from_params(model.state, model.config)
    back = read_state_dict(state_dict(network), model.config.gate).network
    assert our_logits(
        model_of(Described(model.config, model.vocabulary, to_params(back, model.config))), "zq ab"
    ).tobytes() == (our_logits(model, "zq ab").tobytes())


# ---- with PyTorch --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OURS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_the_program_of_the_model_card_computes_our_logits(options, suffix, tmp_path):
    torch = pytest.importorskip("torch")
    model = random_model(**options)
    weights, _, vocabulary, _ = jaxchar.save(model, tmp_path / f"m{suffix}")
    scope: dict = {}
    exec(torch_program(model.config, model.vocabulary), scope)
    network = scope["CharRNN"]()
    load = scope["load_file"] if suffix == ".safetensors" else torch.load
    network.load_state_dict(load(weights))
    table = json.loads(vocabulary.read_text())
    text = "".join(SYMBOLS[i] for i in random_ids(25))
    logits, states = network(torch.tensor([[table[c] for c in text[:12]]]))
    more, _ = network(torch.tensor([[table[c] for c in text[12:]]]), states)
    found = torch.cat([logits, more], 1)[0].detach().numpy()
    np.testing.assert_allclose(found, our_logits(model, text), atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_model_of_pytorch_has_the_same_logits_and_loss_here(kind, suffix, tmp_path):
    torch = pytest.importorskip("torch")
    from torch import nn

    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Embedding(V, 5)
            self.rnn = getattr(nn, kind)(5, 7, num_layers=2, batch_first=True)
            self.decoder = nn.Linear(7, V)

        def forward(self, ids):
            return self.decoder(self.rnn(self.encoder(ids))[0])

    theirs = Model()
    if suffix == ".pt":
        written = io.BytesIO()
        torch.save({"epoch": 3, "model_state_dict": theirs.state_dict()}, written)
        data = written.getvalue()
    else:
        data = safetensors_file(
            {name: t.numpy() for name, t in theirs.state_dict().items()}, {"format": "pt"}
        )
    (tmp_path / "m").write_bytes(data)
    (tmp_path / "chars.txt").write_text("".join(SYMBOLS), encoding="utf-8")
    model = model_of(read_model(tmp_path / "m", ImportOptions(vocabulary=str(tmp_path / "chars.txt"))).model)
    ids = random_ids(200)
    logits = theirs(torch.tensor(ids)[None])[0].detach()
    text = "".join(SYMBOLS[i] for i in ids)
    np.testing.assert_allclose(our_logits(model, text), theirs_from(model, logits.numpy()), atol=1e-5)
    loss = nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])).item()
    assert model.score(text).surprises.mean() == pytest.approx(loss, abs=1e-4)


def test_a_file_of_pytorch_that_runs_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(JaxcharError, match="no plain tensors"):
        read_model(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "settings", [pytest.param({}, marks=pytest.mark.slow), {"batching": "windows", "seq_len": 6}]
)
def test_a_gru_with_two_biases_writes_what_its_logits_say(settings):
    model = random_model("gru", (6, 5), two_biases=True, **settings)
    text = "zq ab"
    for _ in range(12):
        logits = our_logits(model, text[-6:] if settings else text)[-1]
        text += model.vocabulary.symbols[int(logits.argmax())]
    assert model.generate("zq ab", 12, temperature=0) == text[5:]

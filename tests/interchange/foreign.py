"""Networks of other frameworks: their equations in NumPy and float64, and the files that they would write."""

import io
import json

import numpy as np

SYMBOLS = list("zq \nab,ERTé")  # not in code-point order
V = len(SYMBOLS)
# Networks of ours that every other framework can compute, too: arguments of random_model.
OURS = [
    {"cell": "lstm", "sizes": (6,)},
    {"cell": "lstm", "sizes": (6, 5), "embedding": 4, "gate": "hard_sigmoid"},
    {"cell": "lstm", "sizes": (6,), "embedding": 4, "tie": True},
    {"cell": "gru", "sizes": (6, 5)},
    {"cell": "gru", "sizes": (6,), "two_biases": True, "embedding": 3},
    {"cell": "gru", "sizes": (6,), "gate": "hard_sigmoid"},
    {"cell": "rnn", "sizes": (6, 5, 4), "embedding": 4},
]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def hard_sigmoid_of_keras_3(x):
    return np.clip(x / 6 + 0.5, 0, 1)


GATES = {"sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid}


def lstm(x, kernel, recurrent, bias, gate=sigmoid):
    """Keras: kernel [D, 4H], blocks i, f, c, o. PyTorch has the same order, with its kernels transposed."""
    h = c = np.zeros(recurrent.shape[0])
    hiddens = []
    for x_t in x:
        i, f, candidate, o = np.split(x_t @ kernel + h @ recurrent + bias, 4)
        c = gate(f) * c + gate(i) * np.tanh(candidate)
        h = gate(o) * np.tanh(c)
        hiddens.append(h)
    return np.array(hiddens)


def gru(x, kernel, recurrent, bias, gate=sigmoid):
    """Keras: kernel [D, 3H], blocks z, r, h; bias [2, 3H], the reset gate after the product."""
    h = np.zeros(recurrent.shape[0])
    hiddens = []
    for x_t in x:
        (x_z, x_r, x_h), (h_z, h_r, h_h) = (
            np.split(x_t @ kernel + bias[0], 3),
            np.split(h @ recurrent + bias[1], 3),
        )
        z, r = gate(x_z + h_z), gate(x_r + h_r)
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
        hiddens.append(h)
    return np.array(hiddens)


def rnn(x, kernel, recurrent, bias, gate=None):
    h = np.zeros(recurrent.shape[0])
    hiddens = []
    for x_t in x:
        h = np.tanh(x_t @ kernel + h @ recurrent + bias)
        hiddens.append(h)
    return np.array(hiddens)


CELLS = {"lstm": (lstm, 4), "gru": (gru, 3), "rnn": (rnn, 1)}


class Foreign:
    """The weights of a random network in Keras's layout, and its logits."""

    def __init__(self, cell, sizes, embedding=0, seed=0, v=V):
        rng = np.random.default_rng(seed)
        draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
        self.cell, self.sizes = cell, sizes
        self.embedding = draw(v, embedding) if embedding else None
        features, blocks = embedding or v, CELLS[cell][1]
        self.layers = []
        for size in sizes:
            bias = draw(2, 3 * size) if cell == "gru" else draw(blocks * size)
            self.layers.append((draw(features, blocks * size), draw(size, blocks * size) * 0.4, bias))
            features = size
        self.head, self.head_bias = draw(features, v), draw(v)

    def logits(self, ids, gate=sigmoid):
        """Return the logits after each of the ids, [T, V]."""
        x = np.eye(len(self.head_bias))[ids] if self.embedding is None else self.embedding[ids].astype(float)
        for layer in self.layers:
            x = CELLS[self.cell][0](x, *(array.astype(float) for array in layer), gate=gate)
        return x @ self.head.astype(float) + self.head_bias

    def torch_arrays(self):
        """Return the state dictionary of the same network in PyTorch, two biases in each layer."""
        arrays = {} if self.embedding is None else {"encoder.weight": self.embedding}
        for number, (kernel, recurrent, bias) in enumerate(self.layers):
            if self.cell == "gru":
                z_r_h = [np.split(array, 3, axis=-1) for array in (kernel, recurrent, *bias)]
                kernel, recurrent, first, second = (np.concatenate([r, z, h], -1) for z, r, h in z_r_h)
            else:
                first, second = bias - np.float32(0.5), np.full_like(bias, 0.5)
            arrays |= {
                f"rnn.weight_ih_l{number}": kernel.T,
                f"rnn.weight_hh_l{number}": recurrent.T,
                f"rnn.bias_ih_l{number}": first,
                f"rnn.bias_hh_l{number}": second,
            }
        arrays |= {"decoder.weight": self.head.T, "decoder.bias": self.head_bias}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# ---- what jaxchar makes of it --------------------------------------------------------------------


def random_ids(count, seed=1, v=V):
    return np.random.default_rng(seed).integers(0, v, count)


def our_logits(model, text):
    """Return a model's logits after each character of a text, [T, V], in the order of its vocabulary."""
    from flax import nnx

    network = nnx.merge(model.graphdef, model.state)
    ids = model.vocabulary.encode(text).astype(np.int32)
    logits, _ = network(ids[None], network.initial_carry(1))
    return np.asarray(logits[0])


def theirs_from(model, logits, symbols=SYMBOLS):
    """Return logits [T, V] in the order of our vocabulary, from those in the foreign order."""
    return logits[:, [symbols.index(symbol) for symbol in model.vocabulary.symbols]]


def model_of(described):
    """Return a model in hand."""
    from jaxchar.language_model import LanguageModel
    from jaxchar.model.split import model_structure

    config, vocabulary, params = described
    return LanguageModel(config, vocabulary, model_structure(config, len(vocabulary))[0], params)


def random_model(cell, sizes, embedding=0, tie=False, gate="sigmoid", two_biases=False, **settings):
    """Return a model of ours with weights that are all random, biases included."""
    import jax
    import jax.numpy as jnp

    from jaxchar.config import Config
    from jaxchar.data.vocabulary import Vocabulary
    from jaxchar.interchange.ours import Described
    from jaxchar.model.split import model_structure

    config = Config(
        cell=cell,
        hidden_size=tuple(sizes),
        embedding_size=embedding,
        tie_embeddings=tie,
        gate=gate,
        recurrent_bias=two_biases,
        **settings,
    )
    vocabulary, rng = Vocabulary("".join(SYMBOLS)), np.random.default_rng(3)
    _, structure = model_structure(config, V)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.5, leaf.dtype), structure)
    return model_of(Described(config, vocabulary, params))


# ---- files ---------------------------------------------------------------------------------------


def h5_bytes(write):
    import h5py

    written = io.BytesIO()
    with h5py.File(written, "w") as file:
        write(file)
    return written.getvalue()


def keras_1_or_2(foreign, *, keras, settings=True, steps=None, gate="hard_sigmoid", every_step=False, **more):
    """Return the bytes of ``model.save`` (or ``save_weights``) of Keras 1 or 2, as those wrote them."""
    kinds = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
    described, stored = [], {}

    def add(kind, arrays, **config):
        number = sum(entry["class_name"] == kind for entry in described) + 1
        name = f"{kind.lower()}_{number}"
        described.append({"class_name": kind, "config": {"name": name, **config}})
        separator = "_" if keras == 1 else "/"
        stored[name] = {
            f"{name}{separator}{part}{'' if keras == 1 else ':0'}": a for part, a in arrays.items()
        }

    if foreign.embedding is not None:
        part = "W" if keras == 1 else "embeddings"
        add("Embedding", {part: foreign.embedding}, input_dim=V, mask_zero=False, input_length=steps)
    for number, (kernel, recurrent, bias) in enumerate(foreign.layers, start=1):
        config = {"return_sequences": every_step or number < len(foreign.layers), "activation": "tanh"}
        config |= {"go_backwards": False, "stateful": False}
        config["inner_activation" if keras == 1 else "recurrent_activation"] = gate
        if foreign.embedding is None and number == 1:
            config["batch_input_shape"] = [None, steps, V]
        if foreign.cell == "gru":
            config["reset_after"] = True
        if keras == 2:
            arrays = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
        elif foreign.cell == "lstm" and not more.get("fused"):
            parts = [np.split(array, 4, axis=-1) for array in (kernel, recurrent, bias)]
            arrays = {f"{p}_{g}": parts["WUb".index(p)]["ifco".index(g)] for g in "icfo" for p in "WUb"}
        else:
            arrays = {"W": kernel, "U": recurrent, "b": bias}
        add(kinds[foreign.cell], arrays, **config)
    if keras == 1:
        add("Dense", {"W": foreign.head, "b": foreign.head_bias}, activation="linear")
        described.append(
            {"class_name": "Activation", "config": {"name": "activation_1", "activation": "softmax"}}
        )
        stored["activation_1"] = {}
    else:
        add("Dense", {"kernel": foreign.head, "bias": foreign.head_bias}, activation="softmax")

    def write(file):
        group = file.create_group("model_weights") if settings else file
        if settings:
            file.attrs["keras_version"] = b"1.2.2" if keras == 1 else b"2.1.5"
            layers = (
                described
                if keras == 1 or not more.get("named")
                else {"name": "sequential_1", "layers": described}
            )
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers}).encode()
        elif keras == 2:
            file.attrs["keras_version"] = b"2.1.5"
        group.attrs["layer_names"] = [name.encode() for name in stored]
        for name, arrays in stored.items():
            inside = group.create_group(name)
            inside.attrs["weight_names"] = np.array([part.encode() for part in arrays], dtype="S60")
            for part, array in arrays.items():
                inside[part] = array

    return h5_bytes(write)

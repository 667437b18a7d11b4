"""What lies beside exported weights: config.json, vocabulary.json, and a model card with code to use them."""

import json
from typing import Any

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary, describe_characters
from jaxchar.interchange.network import IN_WORDS
from jaxchar.version import __version__

HEADER = """\
---
library_name: jaxchar
pipeline_tag: text-generation
tags: [character-level, recurrent-neural-network, text-generation]
---
"""

LAYER_CLASSES = {"lstm": "nn.LSTM", "gru": "nn.GRU", "rnn": "nn.RNN"}

# A layer with our hard sigmoid, which PyTorch's own layers have not. Its parameters have the same names.
HARD_LAYER = """\
class Layer(nn.Module):  # like {base}, with clip(0.2 x + 0.5, 0, 1) for the sigmoid
    def __init__(self, inputs, size, batch_first=True):
        super().__init__()
        shapes = {{"weight_ih_l0": (inputs,), "weight_hh_l0": (size,), "bias_ih_l0": (), "bias_hh_l0": ()}}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros({blocks} * size, *shape)))

    def forward(self, x, state=None):
        h = x.new_zeros(len(x), self.weight_hh_l0.shape[1])
        {unpack}
        gate, outputs = lambda z: (0.2 * z + 0.5).clamp(0, 1), []
        for x_t in x.unbind(1):
            p, q = x_t @ self.weight_ih_l0.T + self.bias_ih_l0, h @ self.weight_hh_l0.T + self.bias_hh_l0
{step}
            outputs.append(h)
        return torch.stack(outputs, 1), {state}


"""
HARD_PARTS = {
    "lstm": {
        "base": "nn.LSTM",
        "blocks": 4,
        "unpack": "h, c = state if state is not None else (h, h)",
        "step": "            i, f, g, o = (p + q).chunk(4, -1)\n"
        "            c = gate(f) * c + gate(i) * g.tanh()\n"
        "            h = gate(o) * c.tanh()",
        "state": "(h, c)",
    },
    "gru": {
        "base": "nn.GRU",
        "blocks": 3,
        "unpack": "h = state if state is not None else h",
        "step": "            (p_r, p_z, p_n), (q_r, q_z, q_n) = p.chunk(3, -1), q.chunk(3, -1)\n"
        "            z = gate(p_z + q_z)\n"
        "            h = (1 - z) * (p_n + gate(p_r + q_r) * q_n).tanh() + z * h",
        "state": "h",
    },
}


def config_json(config: Config, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the description of a model, as other tools look for it."""
    return {
        "model_type": "jaxchar",
        "architectures": ["CharRNN"],
        "jaxchar_version": __version__,
        "cell": config.cell,
        "hidden_sizes": list(config.layer_sizes),
        "embedding_size": config.embedding_size,
        "tie_embeddings": config.tie_embeddings,
        "gate": config.gate,
        "vocab_size": len(vocabulary),
        "context_length": config.context_limit,
        "torch_dtype": "float32",
    }


def vocabulary_json(vocabulary: Vocabulary) -> dict[str, int]:
    """Return the id of every character."""
    return {symbol: number for number, symbol in enumerate(vocabulary.symbols)}


def torch_program(config: Config, vocabulary: Vocabulary) -> str:
    """Return the PyTorch module that has the exported weights, as a program."""
    is_hard = config.gate == "hard_sigmoid" and config.cell != "rnn"
    layer_class = "Layer" if is_hard else LAYER_CLASSES[config.cell]
    first = config.embedding_size or len(vocabulary)
    last, size = config.layer_sizes[-1], len(vocabulary)
    lines = [
        "import json",
        "",
        "import torch",
        "from safetensors.torch import load_file",
        "from torch import nn",
        "",
    ]
    lines += ["" if not is_hard else "\n" + HARD_LAYER.format(**HARD_PARTS[config.cell]).rstrip("\n") + "\n"]
    lines += ["", "class CharRNN(nn.Module):", "    def __init__(self):", "        super().__init__()"]
    if config.embedding_size:
        lines.append(f"        self.embedding = nn.Embedding({size}, {config.embedding_size})")
    lines.append(f"        sizes = {[first, *config.layer_sizes]}")
    lines.append(
        f"        layers = [{layer_class}(i, h, batch_first=True) for i, h in zip(sizes, sizes[1:])]\n"
        "        self.layers = nn.ModuleList(layers)"
    )
    if config.tie_embeddings:
        lines.append(f"        self.projection = nn.Linear({last}, {config.embedding_size}, bias=False)")
        last = config.embedding_size
    lines.append(f"        self.head = nn.Linear({last}, {size})")
    inputs = "self.embedding(ids)" if config.embedding_size else f"nn.functional.one_hot(ids, {size}).float()"
    outputs = "self.projection(x)" if config.tie_embeddings else "x"
    lines += [
        "",
        "    def forward(self, ids, states=None):  # ids [B, T] to logits [B, T, V] of the next character",
        f"        x, after = {inputs}, []",
        "        for layer, state in zip(self.layers, states or [None] * len(self.layers)):",
        "            x, state = layer(x, state)",
        "            after.append(state)",
        f"        return self.head({outputs}), after",
    ]
    return "\n".join(lines).replace("\n\n\n\n", "\n\n\n") + "\n"


def model_card(config: Config, vocabulary: Vocabulary, weights: str, facts: dict[str, str]) -> str:
    """Return README.md, a model card in Markdown.

    Args:
        config: of the model.
        vocabulary: of the model.
        weights: the name of the file of weights.
        facts: more of what is known, by what it is called.
    """
    sizes = ", ".join(f"{size:,}" for size in config.layer_sizes)
    reads = f"vectors of {config.embedding_size} numbers" if config.embedding_size else "one-hot characters"
    context = (
        f"the last {config.context_limit:,} characters" if config.context_limit else "everything before it"
    )
    rows = {
        "network": f"{len(config.layer_sizes)} layer(s), each {IN_WORDS[config.cell]}, of {sizes} units; "
        f"reads {reads}",
        "predicts": f"the next character, from {context}",
        "characters": f"{len(vocabulary):,}: {describe_characters(vocabulary.symbols)}",
        **facts,
    }
    table = "\n".join(f"| {name} | {_cell(text)} |" for name, text in rows.items())
    return (
        f"{HEADER}\n# A character-level language model\n\nMade with jaxchar {__version__}, a Python "
        f"package for "
        "recurrent models of characters.\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n{_use_in_jaxchar(weights)}"
        f"{_use(weights, config, vocabulary)}"
    )


def _use(weights: str, config: Config, vocabulary: Vocabulary) -> str:
    """Return the section on how a file is used by programs for its format."""
    suffix = weights.rpartition(".")[2]
    text = f"text = {vocabulary.symbols[:3]!r}\n"
    rows = "[[ids[character] for character in text]]"
    ids = f'ids = json.load(open("vocabulary.json", encoding="utf-8"))  # character to id\n{text}'
    if suffix == "h":
        return f"## With C\n\nThe beginning of {weights} shows how it is used.\n"
    if suffix == "keras":
        inputs = f"np.array({rows})"
        if not config.embedding_size:
            inputs = f"np.eye({len(vocabulary)}, dtype=np.float32)[{inputs}]"
        program = "import json\n\nimport keras\nimport numpy as np\n\n"
        program += f"model = keras.models.load_model({weights!r})\n"
        return f"## With Keras\n\n```python\n{program}{ids}logits = model({inputs})\n```\n"
    if suffix == "onnx":
        program = "import json\n\nimport numpy as np\nimport onnxruntime\n\n"
        program += f"model = onnxruntime.InferenceSession({weights!r})\n"
        states = (
            "states = {\n    state.name: np.zeros((1, 1, state.shape[2]), np.float32)\n"
            '    for state in model.get_inputs()\n    if state.name != "ids"\n}\n'
        )
        run = f'logits, *states_after = model.run(None, {{"ids": np.array({rows}), **states}})\n'
        return f"## With ONNX Runtime\n\n```python\n{program}{ids}{states}{run}```\n"
    load_line = f"{'load_file' if suffix == 'safetensors' else 'torch.load'}({weights!r})"
    program = torch_program(config, vocabulary)
    if suffix != "safetensors":
        program = program.replace("from safetensors.torch import load_file\n", "")
    return (
        f"## With PyTorch\n\n```python\n{program}\n\nmodel = CharRNN()\nmodel.load_state_dict({load_line})\n"
        f"{ids}logits, states = model(torch.tensor({rows}))\n```\n"
    )


def _use_in_jaxchar(weights: str) -> str:
    if not weights.endswith(".safetensors"):
        return ""
    return (
        "## With jaxchar\n\n```python\nimport jaxchar\n\n"
        f"model = jaxchar.load({weights!r})\nprint(model.generate(length=500))\n```\n\n"
    )


def _cell(text: str) -> str:
    """Return a text that stays in one cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def as_json(record: Any) -> str:
    """Return an object as a JSON file."""
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

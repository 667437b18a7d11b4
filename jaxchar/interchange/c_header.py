"""A network as one C99 header: its weights, and a function that reads a character, for small devices.

It needs <math.h> alone, allocates nothing, and keeps its state in a structure of the caller's.
"""

from collections.abc import Sequence

import numpy as np

from jaxchar.interchange.network import Layer, Network, untied

HEAD = """\
/* A character-level language model, written by jaxchar. C99; link with -lm.
 *
 *   struct jaxchar_state state = {{{{0}}, {{0}}}};       zeros: the beginning of a text
 *   float logits[JAXCHAR_SYMBOLS];
 *   jaxchar_read(&state, id, logits);           the id of a character, to the logits of the next one
 *
 * jaxchar_code_points[id] is the character of an id. A softmax of the logits gives probabilities.
 */
#ifndef JAXCHAR_MODEL_H
#define JAXCHAR_MODEL_H

#include <math.h>

#define JAXCHAR_SYMBOLS {symbols}
#define JAXCHAR_STEPS {steps} /* characters of a window, which begins with zeros; 0: there are none */
#define JAXCHAR_UNITS {units} /* of all layers */
#define JAXCHAR_COLUMNS {columns} /* of the widest kernel */
#define JAXCHAR_WIDEST {widest}

struct jaxchar_state {{
    float h[JAXCHAR_UNITS];
    float c[JAXCHAR_UNITS]; /* of an LSTM */
}};
"""
GATE = """
static float jaxchar_gate(float x) {{
    {gate}
}}
"""
STEP = """
/* sums[k] += x W[., k] */
static void jaxchar_add_product(const float *x, int rows, int columns, const float *kernel, float *sums) {{
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < columns; k++) sums[k] += x[row] * kernel[row * columns + k];
}}

static void jaxchar_step(int size, const float *p, const float *q, float *h, float *c) {{
    (void)c;
    for (int k = 0; k < size; k++) {{
{cell}
    }}
}}
"""
GATES = {
    "sigmoid": "return 1.0f / (1.0f + expf(-x));",
    "hard_sigmoid": "x = 0.2f * x + 0.5f;\n    return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;",
}
CELLS = {
    "lstm": """\
        float i = jaxchar_gate(p[k] + q[k]), f = jaxchar_gate(p[size + k] + q[size + k]);
        float g = tanhf(p[2 * size + k] + q[2 * size + k]);
        float o = jaxchar_gate(p[3 * size + k] + q[3 * size + k]);
        c[k] = f * c[k] + i * g;
        h[k] = o * tanhf(c[k]);""",
    "gru": """\
        float r = jaxchar_gate(p[k] + q[k]), z = jaxchar_gate(p[size + k] + q[size + k]);
        float n = tanhf(p[2 * size + k] + r * q[2 * size + k]);
        h[k] = (1.0f - z) * n + z * h[k];""",
    "rnn": "        h[k] = tanhf(p[k] + q[k]);",
}


def c_header(network: Network, symbols: str, steps: int | None) -> bytes:
    """Return the text of a header.

    Args:
        network: to write.
        symbols: the V characters in the order of their ids.
        steps: how many characters a window has; None: the network reads on and on.
    """
    network = untied(network)
    sizes = [layer.hidden_size for layer in network.layers]
    code_points = [str(ord(symbol)) for symbol in symbols]
    columns = [layer.recurrent.shape[1] for layer in network.layers]
    features = [] if network.embedding is None else [network.embedding.shape[1]]
    parts = [
        HEAD.format(
            symbols=network.vocab_size,
            steps=steps or 0,
            units=sum(sizes),
            columns=max(columns),
            widest=max([*sizes, *features]),
        ),
        f"\nstatic const unsigned long jaxchar_code_points[] = {{{_listed(code_points)}}};\n",
    ]
    if network.embedding is not None:
        parts.append(_array("embedding", network.embedding))
    for number, layer in enumerate(network.layers):
        parts += _layer_arrays(number, layer)
    parts += [_array("head", network.head), _array("head_bias", network.head_bias)]
    first = network.layers[0]
    if first.cell != "rnn":
        parts.append(GATE.format(gate=GATES[first.gate or "sigmoid"]))
    parts.append(STEP.format(cell=CELLS[first.cell]))
    parts.append(_read(network, sizes))
    return "".join([*parts, "\n#endif\n"]).encode()


def _layer_arrays(number: int, layer: Layer) -> list[str]:
    second = np.zeros_like(layer.bias) if layer.recurrent_bias is None else layer.recurrent_bias
    named = {"inputs": layer.inputs, "recurrent": layer.recurrent, "bias": layer.bias, "second_bias": second}
    return [_array(f"{name}_{number}", array) for name, array in named.items()]


def _read(network: Network, sizes: Sequence[int]) -> str:
    """Return the function that reads one character."""
    lines = [
        "\nstatic void jaxchar_read(struct jaxchar_state *state, int id, float *logits) {",
        "    float p[JAXCHAR_COLUMNS], q[JAXCHAR_COLUMNS], x[JAXCHAR_WIDEST];",
    ]
    place, before = 0, None
    if network.embedding is not None:
        before = network.embedding.shape[1]
        lines.append(f"    for (int k = 0; k < {before}; k++) x[k] = jaxchar_embedding[id * {before} + k];")
    for number, (layer, size) in enumerate(zip(network.layers, sizes, strict=True)):
        columns = layer.recurrent.shape[1]
        row = f" + jaxchar_inputs_0[id * {columns} + k]" if before is None else ""
        lines.append(f"    for (int k = 0; k < {columns}; k++) {{")
        lines.append(f"        p[k] = jaxchar_bias_{number}[k]{row};")
        lines.append(f"        q[k] = jaxchar_second_bias_{number}[k];\n    }}")
        if before is not None:
            lines.append(f"    jaxchar_add_product(x, {before}, {columns}, jaxchar_inputs_{number}, p);")
        state = f"state->h + {place}"
        lines.append(f"    jaxchar_add_product({state}, {size}, {columns}, jaxchar_recurrent_{number}, q);")
        lines.append(f"    jaxchar_step({size}, p, q, {state}, state->c + {place});")
        lines.append(f"    for (int k = 0; k < {size}; k++) x[k] = state->h[{place} + k];")
        place, before = place + size, size
    lines.append("    for (int k = 0; k < JAXCHAR_SYMBOLS; k++) logits[k] = jaxchar_head_bias[k];")
    lines.append(f"    jaxchar_add_product(x, {before}, JAXCHAR_SYMBOLS, jaxchar_head, logits);\n}}\n")
    return "\n".join(lines)


def _array(name: str, array: np.ndarray) -> str:
    """Return an array, row by row, in numbers that a compiler reads back to the bit."""
    numbers = [f"{number:.8e}f" for number in array.reshape(-1).tolist()]
    return f"\nstatic const float jaxchar_{name}[] = {{ /* {list(array.shape)} */{_listed(numbers)}}};\n"


def _listed(numbers: list[str], each_line: int = 8) -> str:
    lines = (", ".join(numbers[at : at + each_line]) for at in range(0, len(numbers), each_line))
    return "\n    " + ",\n    ".join(lines)

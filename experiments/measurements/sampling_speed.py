"""How fast a model writes, against the time that reading its weights alone takes.

    python experiments/measurements/sampling_speed.py  # one LSTM layer of 128, then of 512; 65 symbols

For each size, with random weights (their values change no time), medians of several runs:

one text     characters/s of a single text, after the first call, in pieces as ``model.stream`` draws them
floor        the most characters/s that reading the weights allows: every character needs the recurrent
             kernel and the head once, and a single row gives nothing to reuse them for. The bandwidth is
             what NumPy's own product of a vector with a kernel of that size reaches on one core
first        milliseconds from a new prompt of 20 characters to the first characters of its text
64 texts     characters/s of a batch of 64 prompts of different lengths, all texts together
windows      characters/s of a model trained on windows of 40, which are read anew for each character

Everything is compiled before it is timed. The last line is the same as JSON.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.language_model import LanguageModel
from jaxchar.model.split import split_model

VOCABULARY = Vocabulary("".join(map(chr, range(32, 97))))
RUNS = 9
PROMPT = "ROMEO: WHAT IS IT, O"


def main() -> None:
    """Measure, print a line a size, and the whole as JSON."""
    results = {hidden_size: measure(hidden_size) for hidden_size in (128, 512)}
    for hidden_size, figures in results.items():
        print(f"H={hidden_size}  " + "  ".join(f"{name} {value:,.1f}" for name, value in figures.items()))
    print(json.dumps(results))


def measure(hidden_size: int) -> dict[str, float]:
    """Return the figures of one size."""
    model = random_model(hidden_size)
    weights = 4 * hidden_size * (4 * hidden_size + len(VOCABULARY))  # bytes
    bandwidth = 4 * hidden_size * 4 * hidden_size / seconds(vector_product(hidden_size), 200)
    length = 6_000 if hidden_size < 256 else 1_500
    prompts = [(4 * PROMPT)[: 1 + number] for number in range(64)]
    windows = random_model(hidden_size, batching="windows", seq_len=40)
    return {
        "one text": length / seconds(lambda: model.generate(PROMPT, length)),
        "floor": bandwidth / weights,
        "GB/s": bandwidth / 1e9,
        "first (ms)": 1e3 * seconds(lambda: next(model.stream(PROMPT, length))),
        "64 texts": 64 * length / 10 / seconds(lambda: model.generate_batch(prompts, length // 10)),
        "windows": length / 20 / seconds(lambda: windows.generate(PROMPT, length // 20)),
    }


def random_model(hidden_size: int, **settings: object) -> LanguageModel:
    """Return a model with one LSTM layer that nobody has trained."""
    config = Config(hidden_size=hidden_size, **{"cell": "lstm", **settings})
    return LanguageModel(config, VOCABULARY, *split_model(config, len(VOCABULARY)))


def vector_product(hidden_size: int) -> Callable[[], object]:
    """Return what multiplies a vector with a kernel [4H, H]."""
    kernel, vector = (np.ones(shape, np.float32) for shape in ((4 * hidden_size, hidden_size), hidden_size))
    out = np.empty(4 * hidden_size, np.float32)
    return lambda: np.dot(kernel, vector, out=out)


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Return the median time of some work, which has been done once before."""
    work()
    runs = []
    for _ in range(RUNS):
        started = time.perf_counter()
        for _ in range(times):
            work()
        runs.append((time.perf_counter() - started) / times)
    return statistics.median(runs)


if __name__ == "__main__":
    main()

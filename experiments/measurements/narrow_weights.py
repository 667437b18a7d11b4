"""What recurrent weights of fewer bits cost and save: the loss, and characters a second of one text.

    python experiments/measurements/narrow_weights.py RUN [CHARACTERS]

The loss is the network's alone on the first CHARACTERS (default: 50,000) of the run's validation text, read
as one text. Speed is that of a text of 1,500 characters without memory, everything compiled before; the kinds
take turns, nine rounds, medians. The last column is the speed over that of float32 of the same round, median.
"""

import statistics
import sys
import time
from typing import get_args

from rich.console import Console
from rich.table import Table

import jaxchar
from jaxchar.checkpoint.find import peek
from jaxchar.config import Weights
from jaxchar.data.dataset import load_own_dataset

LENGTH, ROUNDS = 1_500, 9


def main(run: str, characters: str = "50_000") -> None:
    """Print a line for every kind of weights."""
    model = jaxchar.load(run).with_memory(0)
    dataset = load_own_dataset(model.config, model.vocabulary, peek(run).corpus)
    held_out = model.vocabulary.decode(dataset.splits["validation"][: int(characters)])
    models = {kind: model.with_weights(kind) for kind in get_args(Weights)}
    losses = {kind: each.score(held_out).loss for kind, each in models.items()}
    rates: dict[str, list[float]] = {kind: [] for kind in models}
    for number in range(ROUNDS + 1):
        for kind, each in models.items():
            began = time.perf_counter()
            each.generate("\n", LENGTH, seed=number)
            if number:  # the first round compiles
                rates[kind].append(LENGTH / (time.perf_counter() - began))
    table = Table("weights", "nats per character", "characters a second", "times float32")
    for kind, loss in losses.items():
        times = statistics.median(
            mine / exact for mine, exact in zip(rates[kind], rates["float32"], strict=True)
        )
        table.add_row(kind, f"{loss:.5f}", f"{statistics.median(rates[kind]):,.0f}", f"{times:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])

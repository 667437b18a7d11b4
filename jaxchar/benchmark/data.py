"""What all baselines read and start from: a text, its batches, and weights. NumPy only.

Weights have names, ``recurrent 1`` for the first layer's recurrent kernel [H, 4H] and so on, with the gates
in the order i, f, g, o. A baseline converts them to its own layout.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxchar.benchmark.cells import GATES, TEXT_CHARS, Cell

Weights = dict[str, np.ndarray]

LEARNING_RATE, BETAS, EPSILON = 1e-3, (0.9, 0.999), 1e-8  # of Adam, in every baseline
FREQUENT = 0.25  # share of characters that are the most frequent one, so that learning shows at once
FOLLOWS = 0.5  # share of characters that are determined by the previous one


def made_up_text(vocab_size: int) -> np.ndarray:
    """Return ids [TEXT_CHARS] uint8 with something to learn: frequent characters, and frequent pairs."""
    random = np.random.default_rng(0)
    ids = np.minimum(random.geometric(FREQUENT, TEXT_CHARS) - 1, vocab_size - 1)
    decided = np.flatnonzero(random.random(TEXT_CHARS - 1) < FOLLOWS) + 1
    ids[decided] = (7 * ids[decided - 1] + 3) % vocab_size
    return ids.astype(np.uint8)


def batch_starts(cell: Cell, step: int) -> np.ndarray:
    """Return where the rows of a step begin in the text, [B]."""
    return np.arange(cell.batch_size) * cell.row_distance + step % cell.steps_per_epoch * cell.step_distance


def inputs_and_targets(cell: Cell, chars: Any) -> tuple[Any, Any]:
    """Return [R, T] inputs and targets, [R, T] or [R], of R rows of T + 1 ids in any framework's array."""
    return chars[:, :-1], chars[:, -1] if cell.many_to_one else chars[:, 1:]


def first_batch(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [R, T] and targets, [R, T] or [R], int32, of the first step's ``checked_rows`` rows."""
    starts = batch_starts(cell, 0)[: cell.checked_rows]
    chars = made_up_text(cell.vocab_size)[starts[:, None] + np.arange(cell.seq_len + 1)].astype(np.int32)
    return inputs_and_targets(cell, chars)


def made_up_weights(cell: Cell) -> Weights:
    """Return float32 weights of the size that training begins with, the same in every call."""
    random = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {}
    features = cell.vocab_size
    for layer in range(1, cell.num_layers + 1):
        shapes[f"input {layer}"] = (features, GATES * cell.hidden_size)
        shapes[f"recurrent {layer}"] = (cell.hidden_size, GATES * cell.hidden_size)
        shapes[f"bias {layer}"] = (GATES * cell.hidden_size,)
        features = cell.hidden_size
    shapes |= {"head": (features, cell.vocab_size), "head bias": (cell.vocab_size,)}
    scale = cell.hidden_size**-0.5
    return {name: random.uniform(-scale, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def save_arrays(file: Path, arrays: Weights) -> None:
    """Write arrays by name into an .npz file."""
    np.savez(file, allow_pickle=False, **arrays)

"""What is measured: the sizes of a training step, and how much work a step is at least.

Letters: B batch, T time steps, V vocabulary, H hidden size, L layers. Every cell is a stack of LSTM layers
on one-hot characters with a linear head, in training with Adam. The work is the same for all
baselines: every sequence begins with a zero state, and the gates are plain sigmoids, also in
``words_generator``, whose original has a hard sigmoid that most other libraries lack.
"""

from dataclasses import asdict, dataclass
from typing import Any

from jaxchar.errors import JaxcharError

GATES = 4  # of an LSTM: i, f, g, o
FORWARD_AND_BACKWARD = 3  # each product of the forward pass has two of its size in the backward pass
STATE_PASSES = 6  # parameters and Adam's two moments, each read and written once
SAVED_ROWS = GATES + 2  # numbers per unit that the backward pass needs: the gates, c and h
TEXT_CHARS = 100_000  # of the generated text that all cells train on
CHECKED_OPERATIONS = 3e10  # a check in float64 that takes more is done on CHECKED_ROWS rows of the batch
CHECKED_ROWS = 8
DTYPES = {"cpu": ("float32",), "gpu": ("float32", "tf32", "bfloat16"), "tpu": ("float32", "bfloat16")}


@dataclass(frozen=True)
class Cell:
    """One training step, by its sizes."""

    name: str
    seq_len: int
    hidden_size: int
    num_layers: int
    batch_size: int
    vocab_size: int = 65
    many_to_one: bool = False  # one target after each window, not one at every step
    clip_value: float = 0.0  # of every gradient element; 0: off
    clip_norm: float = 0.0  # of the whole gradient; 0: off

    @property
    def sizes(self) -> str:
        """The sizes in words."""
        layers = (
            f"{self.num_layers} layers of {self.hidden_size}" if self.num_layers > 1 else self.hidden_size
        )
        targets = "one target" if self.many_to_one else "every step"
        return f"B {self.batch_size:,}, T {self.seq_len}, H {layers}, V {self.vocab_size}, {targets}"

    @property
    def num_parameters(self) -> int:
        """Numbers to train: kernels and one bias of each layer, and the head."""
        inputs = [self.vocab_size] + [self.hidden_size] * (self.num_layers - 1)
        layers = sum(GATES * self.hidden_size * (size + self.hidden_size + 1) for size in inputs)
        return layers + (self.hidden_size + 1) * self.vocab_size

    @property
    def step_chars(self) -> int:
        """Characters that a step reads."""
        return self.batch_size * self.seq_len

    @property
    def step_operations(self) -> int:
        """Floating-point operations of a step's matrix products, a multiply-add counted as two.

        One-hot characters pick rows of the first layer's kernel, which is no product.
        """
        layer_products = 2 * self.num_layers - 1  # one recurrent each, one of the inputs above the first
        layers = 2 * self.step_chars * GATES * self.hidden_size * self.hidden_size * layer_products
        predictions = self.batch_size if self.many_to_one else self.step_chars
        return FORWARD_AND_BACKWARD * (layers + 2 * predictions * self.hidden_size * self.vocab_size)

    def step_bytes(self, activation_bytes: int = 4) -> int:
        """Return the bytes that a step moves at least: float32 weights and saved activations."""
        activations = self.step_chars * SAVED_ROWS * self.hidden_size * self.num_layers
        return 4 * STATE_PASSES * self.num_parameters + 2 * activation_bytes * activations

    @property
    def sequential_depth(self) -> int:
        """Matrix products that must wait for one another, forward and backward."""
        return 2 * self.seq_len * self.num_layers

    @property
    def checked_rows(self) -> int:
        """Rows of the batch on which loss and gradient are compared with float64."""
        return self.batch_size if self.step_operations <= CHECKED_OPERATIONS else CHECKED_ROWS

    # ---- the batches -----------------------------------------------------------------------------

    @property
    def lane_chars(self) -> int:
        """Targets of each of the B lanes that the text is cut into where every character is one."""
        return (TEXT_CHARS - 1) // self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the text; then it begins again."""
        if self.many_to_one:
            return (TEXT_CHARS - self.seq_len) // self.batch_size
        return self.lane_chars // self.seq_len

    @property
    def row_distance(self) -> int:
        """Characters from the start of a row to that of the row below it."""
        return 1 if self.many_to_one else self.lane_chars

    @property
    def step_distance(self) -> int:
        """Characters from a row's start in one step to that in the next step."""
        return self.batch_size if self.many_to_one else self.seq_len

    def to_json(self) -> dict[str, Any]:
        """Return the sizes as a JSON object."""
        return asdict(self)


def floor_seconds(cell: Cell, peak: float, bandwidth: float, activation_bytes: int = 4) -> float:
    """Return the least time of a step on a machine of ``peak`` operations/s and ``bandwidth`` bytes/s."""
    return max(cell.step_operations / peak, cell.step_bytes(activation_bytes) / bandwidth)


WORDS_GENERATOR: dict[str, Any] = {
    "seq_len": 16,
    "hidden_size": 128,
    "num_layers": 1,
    "vocab_size": 36,
    "many_to_one": True,
}

CELLS = (
    Cell("words_generator", batch_size=32, clip_value=1.0, **WORDS_GENERATOR),
    Cell("words_generator_512", batch_size=512, clip_value=1.0, **WORDS_GENERATOR),
    Cell("nietzsche", 40, 128, 1, 128, vocab_size=57, many_to_one=True),
    Cell("char_rnn", 50, 128, 2, 50, clip_value=5.0),
    Cell("shakespeare", 128, 512, 1, 32, clip_norm=1.0),
    Cell("two_layers_512", 64, 512, 2, 64, clip_norm=1.0),
    Cell("one_layer_1024", 128, 1024, 1, 64, clip_norm=1.0),
)

ACCELERATOR_CELLS = (
    Cell("many_short_128", 16, 128, 1, 4096, clip_norm=1.0),
    Cell("large_batch_512", 64, 512, 1, 512, clip_norm=1.0),
    Cell("large_batch_1024", 128, 1024, 1, 128, clip_norm=1.0),
)

# A row each for writing, one character a step; for reading, whole passes over a text.
WRITING = tuple(
    Cell(f"writing, H {hidden_size}, {batch_size} at once", 1, hidden_size, 1, batch_size)
    for hidden_size in (128, 512)
    for batch_size in (1, 64)
)
READING = (Cell("reading, H 512, 64 lanes", 128, 512, 1, 64),)
READING_STEPS = 4  # of a pass: this many times T characters of every lane


def dtypes_on(platform: str) -> tuple[str, ...]:
    """Return what products are measured in on a platform of JAX."""
    return DTYPES.get(platform, DTYPES["tpu"])


def cells_named(names: tuple[str, ...] | None, on_accelerator: bool) -> tuple[Cell, ...]:
    """Return the cells of these names; None: all that fit the machine."""
    if names is None:
        return CELLS + (ACCELERATOR_CELLS if on_accelerator else ())
    known = {cell.name: cell for cell in CELLS + ACCELERATOR_CELLS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise JaxcharError(f"cells must be of {', '.join(known)}, but they have {', '.join(unknown)}")
    return tuple(known[name] for name in dict.fromkeys(names))

"""What is measured: a module for each library, jaxchar among them, with the same few functions.

``prepare(cell, dtype, **options) -> Baseline``
    ready to train.
``writer(cell, dtype) -> Callable[[int], float]``, optional
    writes the given number of characters of each of ``cell.batch_size`` texts; returns seconds.
``reader(cell, dtype) -> Callable[[int], float]``, optional
    reads a text of ``READING_STEPS`` steps' characters that many times, for its loss; returns seconds.

``dtype`` is "float32", "tf32" (float32 whose products may round their factors to TF32) or "bfloat16". A
module raises :class:`LeftOut` for what it cannot do, and ImportError where its framework is not installed.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from jaxchar.benchmark.data import Weights
from jaxchar.errors import JaxcharError

# The platform that the plan is for, in the environment of every worker: "cpu", "gpu" or "tpu".
PLATFORM_VARIABLE = "JAXCHAR_BENCHMARK_PLATFORM"


class LeftOut(Exception):
    """A baseline cannot run here; the message says why."""


class Baseline(Protocol):
    """A model and its optimiser, ready to train."""

    num_parameters: int
    redundant_parameters: int  # of these, trained numbers that add nothing: PyTorch's second bias
    # Optional, variant: what it computes with, where its label and the dtype do not say so.

    def load(self, weights: Weights) -> None:
        """Take these weights, a fresh optimiser and the first batch."""

    def loss_and_gradient(self) -> tuple[float, Weights]:
        """Return the mean loss (nats) of :func:`jaxchar.benchmark.data.first_batch`, and its gradient."""

    def train(self, steps: int) -> float:
        """Do whole training steps; return seconds."""


@dataclass(frozen=True)
class Known:
    """What the command line and the tables need to know about a baseline."""

    label: str
    module: str  # of this package
    is_ours: bool = False  # jaxchar itself, not a library to compare with
    accelerator_only: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # further arguments of prepare
    in_report_only: bool = False  # a variant of jaxchar for the report on an accelerator


KNOWN = {
    "jaxchar": Known("jaxchar", "ours", is_ours=True),
    "jaxchar-one-step": Known(
        "jaxchar, one step a call", "ours", is_ours=True, options={"steps_per_call": 1}
    ),
    "jaxchar-devices": Known("jaxchar, all devices", "ours", is_ours=True, options={"devices": None}),
    "flax": Known("Flax nnx.RNN", "flax_rnn"),
    "keras": Known("Keras on JAX", "keras_lstm"),
    "torch": Known("PyTorch", "torch_lstm"),
    "torch-graph": Known("PyTorch, CUDA graph", "torch_lstm", accelerator_only=True, options={"graph": True}),
    "cudnn": Known("JAX with cuDNN", "cudnn_lstm", accelerator_only=True),
}
# How jaxchar can compute a layer over time. An implementation that there is not for a device is left out.
IMPLEMENTATIONS = ("scan", "fused", "native", "cuda")
UNROLLS = (1, 8, 16)  # time steps that are compiled as one
KNOWN |= {
    f"jaxchar-{name}": Known(
        f"jaxchar, {name}", "ours", is_ours=True, options={"implementation": name}, in_report_only=True
    )
    for name in IMPLEMENTATIONS
}
KNOWN |= {
    f"jaxchar-unroll-{number}": Known(
        f"jaxchar, fused, unrolled by {number}",
        "ours",
        is_ours=True,
        options={"implementation": "fused", "unroll": number},
        in_report_only=True,
    )
    for number in UNROLLS
}
OTHERS = tuple(name for name, known in KNOWN.items() if not known.is_ours)


def baselines_named(peers: tuple[str, ...] | None, on_accelerator: bool) -> tuple[str, ...]:
    """Return the names of jaxchar's own baselines and of these; None: all that fit the machine."""
    unknown = [name for name in peers or () if name not in OTHERS]
    if unknown:
        raise JaxcharError(f"peers must be of {', '.join(OTHERS)}, but they have {', '.join(unknown)}")
    if peers is None:
        peers = tuple(name for name in OTHERS if on_accelerator or not KNOWN[name].accelerator_only)
    ours = {name for name, known in KNOWN.items() if known.is_ours and not known.in_report_only}
    return tuple(name for name in KNOWN if name in ours or name in peers)

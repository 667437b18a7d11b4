"""Whether a baseline does the same work: the same parameters, loss, gradient and first steps.

All start from the same weights. Loss and gradient of the first batch are compared with a plain model in
float64; the loss after :data:`jaxchar.benchmark.worker.LEARNING_STEPS` steps with jaxchar's, which shows that
batches, clipping and Adam are the same. A baseline that differs is reported, and not timed.
"""

from typing import Any

import numpy as np

from jaxchar.benchmark.cells import Cell
from jaxchar.benchmark.data import Weights

LOSS_TOLERANCE = {"float32": 1e-4, "tf32": 1e-3, "bfloat16": 1e-2}  # relative
# Of an array's largest element. Who computes in less than is asked for does not pass.
GRADIENT_TOLERANCE = {"float32": 5e-5, "tf32": 1.5e-3, "bfloat16": 1e-1}
# Clipping to a norm counts PyTorch's second bias, too; Keras rounds Adam's epsilon differently.
LEARNED_TOLERANCE = 2e-3  # relative, on top of LOSS_TOLERANCE


def gradient_error(gradient: Weights, judge: Weights) -> float:
    """Return the largest difference of an element, as a share of the largest element of its array."""
    if gradient.keys() != judge.keys():
        return float("inf")
    errors = [np.abs(gradient[name] - exact).max() / np.abs(exact).max() for name, exact in judge.items()]
    return float(np.max(errors))


def relative(value: float, exact: float) -> float:
    """Return how far a value is from the exact one, as a share of it."""
    return abs(value - exact) / abs(exact)


def differences(cell: Cell, dtype: str, found: dict[str, Any], judge_loss: float) -> list[str]:
    """Return what a baseline does differently, in words; nothing if it does the same work.

    Args:
        cell: what it was given.
        dtype: what it multiplies in, which sets the tolerances.
        found: its num_parameters, redundant_parameters, loss, loss_after and gradient_error, and
            ``our_loss_after``, jaxchar's own.
        judge_loss: the loss in float64.
    """
    said = []
    parameters = found["num_parameters"] - found["redundant_parameters"]
    if parameters != cell.num_parameters:
        said.append(f"it has {parameters:,} parameters instead of {cell.num_parameters:,}")
    if not relative(found["loss"], judge_loss) <= LOSS_TOLERANCE[dtype]:
        said.append(f"its loss is {found['loss']:.6f} instead of {judge_loss:.6f}")
    if not found["gradient_error"] <= GRADIENT_TOLERANCE[dtype]:
        said.append(f"its gradient is off by {found['gradient_error']:.1e} of its largest element")
    learned = LOSS_TOLERANCE[dtype] + LEARNED_TOLERANCE
    if not relative(found["loss_after"], found["our_loss_after"]) <= learned:
        after, ours = found["loss_after"], found["our_loss_after"]
        said.append(f"its loss after the first steps is {after:.5f} instead of {ours:.5f}")
    return said

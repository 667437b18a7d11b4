"""The figures of a run over its steps, as ``metrics.jsonl`` has them."""

import json
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxchar.errors import JaxcharError, quoted_path, reason_of

METRICS = "metrics.jsonl"


class Series(NamedTuple):
    """One figure over the steps of a run."""

    steps: np.ndarray  # [N] int64
    values: np.ndarray  # [N] float64


def read_metrics(run: str | PathLike[str]) -> dict[str, Series]:
    """Return every figure that a run has logged, by its name: ``train_loss``, ``val_loss``, ...

    The run may still be training: a last line that is only half written is left out. For pandas,
    ``pandas.DataFrame(metrics["val_loss"]._asdict())`` has the columns ``steps`` and ``values``.

    Args:
        run: the run's folder.

    Returns:
        For each name the steps, [N] int64, and the values, [N] float64. A figure is not logged at every
        step, so N differs; what is logged twice at a step, with training and validation, is there once.

    Raises:
        JaxcharError: there is no such file, or a line of it is not what a run writes.
    """
    try:
        file = Path(run).expanduser() / METRICS
        exists = file.is_file()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise JaxcharError(f"the run {quoted_path(run)} cannot be used: {reason_of(error)}") from error
    if not exists:
        raise JaxcharError(f"there is no {METRICS} in {quoted_path(run)}; give the folder of a run")
    return metrics_in(file)


def metrics_in(file: Path) -> dict[str, Series]:
    """Return every figure of a file, which need not exist, by its name.

    Raises:
        JaxcharError: it cannot be read, or a line of it is not what a run writes.
    """
    try:
        text = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise JaxcharError(f"{quoted_path(file)} cannot be read: {reason_of(error)}") from error
    whole = text.split(b"\n")[:-1]  # what follows the last line break is empty, or half a line
    points: dict[str, dict[int, float]] = {}
    for number, line in enumerate(whole, start=1):
        step, figures = _read_line(line, number, file)
        for name, value in figures.items():
            points.setdefault(name, {})[step] = value
    return {
        name: Series(np.array(list(of), np.int64), np.array(list(of.values()), np.float64))
        for name, of in points.items()
    }


def _read_line(line: bytes, number: int, file: Path) -> tuple[int, dict[str, float]]:
    """Return the step of a line, and its other figures."""
    try:
        record = json.loads(line)
        figures = {name: float(value) for name, value in record.items() if _is_number(value)}
        step = record["step"]
        if len(figures) < len(record) or not isinstance(step, int) or not 0 <= step < 2**63:
            raise ValueError
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        raise JaxcharError(
            f"line {number:,} of {quoted_path(file)} is not a JSON object with a step and other numbers; "
            "take that line out of the file"
        ) from None
    del figures["step"]
    return step, figures


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

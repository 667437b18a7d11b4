"""The picture of a run: its loss over the steps."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxchar.run_folder import Series


def plot_loss(metrics: Mapping[str, Series], title: str, picture: Path) -> None:
    """Draw training and validation loss over steps into a PNG."""
    import matplotlib

    matplotlib.use("Agg")  # no window, on any machine
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("train_loss", "training", {"linewidth": 1.2, "color": "tab:blue"}),
        ("val_loss", "validation", {"marker": "o", "markersize": 4, "color": "tab:orange"}),
    )
    for name, label, style in styles:
        if name in metrics:
            steps, losses = metrics[name]
            axes.plot(steps, losses, label=f"{label} ({losses[-1]:.3f} at the end)", **style)
    if "val_loss" in metrics:
        _mark_best(axes, metrics["val_loss"])
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per character)")
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a run's name may have any character
        figure.savefig(picture, dpi=120)
    plt.close(figure)


def _mark_best(axes: Any, validation: Series) -> None:
    """Mark the lowest validation loss, that of the best checkpoint, and say in the legend what it is."""
    best = int(np.argmin(np.nan_to_num(validation.values, nan=np.inf)))
    step, loss = int(validation.steps[best]), float(validation.values[best])
    label = f"best ({loss:.3f} at step {step:,})"
    axes.plot([step], [loss], "*", markersize=14, color="tab:green", label=label, zorder=3)

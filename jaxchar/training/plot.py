"""The picture of a run: its loss over the steps. And pictures in general, drawn beside those of the host."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxchar.files import written_whole
from jaxchar.training.metrics import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def plot_loss(
    metrics: Mapping[str, Series],
    title: str,
    picture: Path,
    reference_losses: Mapping[str, float] | None = None,
) -> None:
    """Draw training and validation loss over steps into a PNG.

    Args:
        metrics: figures over the steps.
        title: what the run is called.
        picture: the file.
        reference_losses: of others that predict the validation text, by their names, in nats per character.
    """
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("train_loss", "training", {"linewidth": 1.2, "color": "tab:blue"}),
        ("val_loss", "validation", {"marker": "o", "markersize": 4, "color": "tab:orange"}),
    )
    with written_whole(picture) as temporary, drawn(temporary, (8, 4.5)) as (_, axes):
        for name, label, style in styles:
            if name in metrics:
                steps, losses = metrics[name]
                axes.plot(steps, losses, label=f"{label} ({losses[-1]:.3f} at the end)", **style)
        if "val_loss" in metrics:
            _mark_best(axes, metrics["val_loss"])
        for name, loss in (reference_losses or {}).items():
            axes.axhline(loss, linestyle=":", linewidth=1, color="tab:gray")
            axes.annotate(
                f"{name} ({loss:.3f})",
                (1, loss),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 2),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color="dimgray",
            )
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats per character)")
        axes.set_title(title, parse_math=False)
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend()


def _mark_best(axes: "Axes", validation: Series) -> None:
    """Mark the lowest validation loss, that of the best checkpoint, and say in the legend what it is."""
    best = int(np.argmin(np.nan_to_num(validation.values, nan=np.inf)))
    step, loss = int(validation.steps[best]), float(validation.values[best])
    label = f"best ({loss:.3f} at step {step:,})"
    axes.plot([step], [loss], "*", markersize=14, color="tab:green", label=label, zorder=3)


@contextlib.contextmanager
def drawn(picture: Path, inches: tuple[float, float]) -> Iterator[tuple["Figure", "Axes"]]:
    """Give a figure to draw on, and save it as a PNG at the end of the block.

    It has no window and is not one of pyplot's, so the host's figures, backend and settings stay as they
    are; and it is drawn in Matplotlib's own style, whatever style the host has chosen.

    Args:
        picture: the file.
        inches: width and height.
    """
    _import_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a run's name may have any character
            figure.savefig(picture, dpi=DOTS_PER_INCH, format="png")


def _import_matplotlib() -> None:
    """Import Matplotlib, which refuses to be imported where MPLBACKEND names an unknown backend."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:  # for whoever shows figures after us, as Matplotlib would have done it
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend

"""The picture of a run: its loss over the steps."""

import json
import warnings
from pathlib import Path
from typing import Any


def plot_loss(metrics_file: Path, picture: Path) -> None:
    """Draw training and validation loss over steps from a run's ``metrics.jsonl`` into a PNG."""
    import matplotlib

    matplotlib.use("Agg")  # no window, on any machine
    import matplotlib.pyplot as plt

    records = [json.loads(line) for line in metrics_file.read_text(encoding="utf-8").splitlines()]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("train_loss", "training", {"linewidth": 1.2, "color": "tab:blue"}),
        ("val_loss", "validation", {"marker": "o", "markersize": 4, "color": "tab:orange"}),
    )
    for name, label, style in styles:
        points = [(record["step"], record[name]) for record in records if name in record]
        if points:
            steps, losses = zip(*points, strict=True)
            last = f"{label} ({losses[-1]:.3f} at the end)"
            axes.plot(steps, losses, label=last, **style)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per character)")
    axes.set_title(metrics_file.parent.name, parse_math=False)
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a run's name may have any character
        figure.savefig(picture, dpi=120)
    plt.close(figure)

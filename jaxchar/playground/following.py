"""A run that is finished or still training: its losses, and what is new in them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.playground.events import Event, Wait
from jaxchar.training.metrics import Series
from jaxchar.training.run_folder import CONFIG, RunFolder

POLL_SECONDS = 1.0
MOST_POINTS = 5_000  # of one curve, about what a screen can show
CURVES = {"train": "train_loss", "validation": "val_loss"}


Checkpoints = Callable[[], dict[int, Metadata]]  # those that a run has now, by their steps


def follow(run: Path, checkpoints: Checkpoints) -> Iterator[Event | Wait]:
    """Yield what is new in a run: losses, checkpoints, and its end."""
    told = dict.fromkeys(CURVES, -1)  # the last step of each curve that was told
    newest, seen = None, None
    while True:
        here = _stamps(run)
        if here != seen:
            seen, now = here, curve(run, checkpoints)
            news = {name: [point for point in now[name] if point[0] > told[name]] for name in CURVES}
            told |= {name: points[-1][0] for name, points in news.items() if points}
            if any(news.values()) or newest is None:
                yield "metrics", now | news
            step = max(checkpoints(), default=None)
            if step is not None and step != newest:
                newest = step
                yield "checkpoint", {"step": step}
            if now["finished"]:
                yield "finished", {}
                return
        yield Wait(POLL_SECONDS)


def curve(run: Path, checkpoints: Checkpoints) -> dict[str, Any]:
    """Return the losses of a run over its steps, as a JSON object."""
    folder = RunFolder(run)
    metrics, summary = folder.metrics(), folder.summary() or {}
    logged = max((int(series.steps.max()) for series in metrics.values()), default=0)
    done = summary.get("steps")
    return {
        **{name: _points(metrics[key]) if key in metrics else [] for name, key in CURVES.items()},
        "finished": isinstance(done, int) and done >= logged,
        "max_steps": _max_steps(checkpoints()) or logged,
    }


def _points(series: Series) -> list[list[float]]:
    """Return the points of a curve in the order of their steps; of very many, some and the last."""
    order = np.argsort(series.steps, kind="stable")
    order = order[np.isfinite(series.values[order])]
    stride = -(-len(order) // MOST_POINTS) or 1
    kept = order[::-1][::stride][::-1]
    return [[int(series.steps[place]), round(float(series.values[place]), 5)] for place in kept]


def _max_steps(checkpoints: dict[int, Metadata]) -> int | None:
    """Return how many steps a run is to have, as its newest checkpoint says."""
    if not checkpoints:
        return None
    metadata = checkpoints[max(checkpoints)]
    whole = metadata.config.epochs * metadata.steps_per_epoch
    return min(whole, metadata.config.max_steps or whole)


def _stamps(run: Path) -> tuple[Any, ...]:
    """Return what changes where a run has something new."""
    found = []
    for path in (
        run / "metrics.jsonl",
        run / "summary.json",
        run / "checkpoints",
        run / CONFIG,
    ):
        try:
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)

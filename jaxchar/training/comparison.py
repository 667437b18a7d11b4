"""Several runs side by side: the settings in which they differ, what they came to, and one picture."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np

from jaxchar.checkpoint.find import peek
from jaxchar.config import Config, CorpusConfig
from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of
from jaxchar.files import written_whole
from jaxchar.model.split import model_structure
from jaxchar.training.metrics import Series
from jaxchar.training.plot import drawn
from jaxchar.training.run_folder import CONFIG, RunFolder

# Settings that decide which text is predicted, and from how much context: without them the same, losses do
# not compare.
OF_THE_TEXT = frozenset(
    {field.name for field in dataclasses.fields(CorpusConfig)}
    | {"eval_protocol", "eval_block", "eval_stride"}
)
MOST_NAMED = 20  # runs in the legend of a picture
Over = Literal["steps", "seconds"]  # what a picture's losses are drawn over


class ComparedRun(NamedTuple):
    """One run, as far as it is."""

    path: Path
    config: Config
    steps: int
    seconds: float  # of training
    best_step: int | None  # None: it was not validated yet
    best_val_loss: float | None  # nats per character
    parameters: int | None  # None: neither a summary nor a checkpoint tells
    metrics: dict[str, Series]


class Comparison(NamedTuple):
    """Several runs, the best one first."""

    runs: list[ComparedRun]
    differing: list[str]  # names of the settings that are not the same in all runs
    left_out: list[Path]  # folders that hold no run

    @property
    def is_fair(self) -> bool:
        """Whether the losses are of the same text, predicted in the same way."""
        return OF_THE_TEXT.isdisjoint(self.differing)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "differing": self.differing,
            "same_text": self.is_fair,
            "runs": [_to_json(run, self.differing) for run in self.runs],
            "left_out": list(map(str, self.left_out)),
        }


def compare_runs(paths: Sequence[str | PathLike[str]]) -> Comparison:
    """Compare runs that are finished or still training; nothing is computed.

    Args:
        paths: run folders, or folders that hold run folders. What holds no run is left out.

    Raises:
        JaxcharError: none of them holds a run, or the files of one cannot be read.
    """
    if isinstance(paths, str | PathLike):
        raise JaxcharError(
            f"the runs must be a list, but they are {quoted_path(paths)}; give [{quoted_path(paths)}]"
        )
    found, left_out = [], []
    for path in paths:
        inside = _runs_in(path)
        found += inside
        if not inside and Path(path).is_dir():
            left_out.append(Path(path))
    if not found:
        named = ", ".join(map(quoted_path, list(paths)[:3])) or "the list"
        raise JaxcharError(f"there is no run in {named}; give the folders of some runs")
    runs = [_read_run(path) for path in dict.fromkeys(found)]
    runs.sort(key=lambda run: math.inf if run.best_val_loss is None else run.best_val_loss)
    return Comparison(runs, _differing([run.config for run in runs]), left_out)


def plot_comparison(comparison: Comparison, picture: str | PathLike[str], over: Over = "steps") -> None:
    """Draw the losses of several runs into a PNG, each run in a colour of its own.

    Validation losses are lines with dots, training losses are thin lines.

    Args:
        comparison: the runs.
        picture: the file.
        over: the horizontal axis: steps, or seconds since training began, with evaluations.

    Raises:
        JaxcharError: it cannot be written, or there is no such axis.
    """
    if over not in get_args(Over):
        raise JaxcharError(f"--over must be 'steps' or 'seconds', but it is {quoted(over)}")
    file = Path(picture).expanduser()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as temporary, drawn(temporary, (10, 5.5)) as (_, axes):
            for number, run in enumerate(comparison.runs):
                _draw_run(axes, run, number, over)
            axes.set_xlabel("step" if over == "steps" else "seconds")
            axes.set_ylabel("loss (nats per character)")
            axes.set_title("dots: validation; thin lines: training", fontsize=9)
            axes.grid(alpha=0.3)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    except (OSError, ValueError) as error:
        raise JaxcharError(f"--out {quoted_path(file)} cannot be written: {reason_of(error)}") from error


def _draw_run(axes: Any, run: ComparedRun, number: int, over: Over) -> None:
    colour = f"C{number % 10}"
    loss = "" if run.best_val_loss is None else f" ({run.best_val_loss:.3f})"
    label = f"{run.path.name}{loss}".replace("$", r"\$")
    label = label.lstrip("_") if number < MOST_NAMED else "_nolegend_"
    dots: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1.4, "color": colour}
    thin: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.45, "color": colour}
    for name, style in (("val_loss", dots), ("train_loss", thin)):
        if name in run.metrics:
            series = run.metrics[name]
            places = series.steps if over == "steps" else _seconds_at(series.steps, run.metrics)
            axes.plot(places, series.values, label=label, **style)
            label = "_nolegend_"


def _seconds_at(steps: np.ndarray, metrics: dict[str, Series]) -> np.ndarray:
    """Return how long training had lasted at some steps; nothing is drawn where no time was logged."""
    if "seconds" not in metrics:
        return np.full(len(steps), np.nan)
    return np.interp(steps, *metrics["seconds"])


# ---- reading a run -------------------------------------------------------------------------------


def _runs_in(path: str | PathLike[str]) -> list[Path]:
    """Return the run that a path is, or those in the folder that it is."""
    try:
        given = Path(path).expanduser()
        if not given.exists():
            raise JaxcharError(f"there is nothing at {quoted_path(path)}; give the folders of some runs")
        if not given.is_dir():
            return []
        if (given / CONFIG).exists():
            return [given]
        return sorted(inside for inside in given.iterdir() if (inside / CONFIG).exists())
    except (OSError, RuntimeError, TypeError) as error:
        raise JaxcharError(f"the run {quoted_path(path)} cannot be used: {reason_of(error)}") from error


def _read_run(path: Path) -> ComparedRun:
    folder = RunFolder(path)
    config, metrics, summary = _config_of(path), folder.metrics(), folder.summary() or {}
    logged = max((int(series.steps.max()) for series in metrics.values()), default=0)
    step, loss = _best_of(metrics)
    steps, seconds = _number(summary, "steps"), _number(summary, "seconds")
    if steps is None or steps < logged:  # it is training, or was ended without a summary
        steps, seconds = logged, float(metrics["seconds"].values[-1]) if "seconds" in metrics else 0.0
    return ComparedRun(
        path, config, int(steps), seconds or 0.0, step, loss, _parameters(path, summary), metrics
    )


def _config_of(path: Path) -> Config:
    file = path / CONFIG
    try:
        return Config.from_json(json.loads(file.read_text(encoding="utf-8")))
    except JaxcharError as error:
        raise JaxcharError(f"the settings in {quoted_path(file)} cannot be used: {error}") from error
    except (AttributeError, OSError, RecursionError, TypeError, ValueError) as error:
        raise JaxcharError(f"{quoted_path(file)} cannot be read: {reason_of(error)}") from error


def _best_of(metrics: dict[str, Series]) -> tuple[int | None, float | None]:
    """Return the step and the value of the lowest validation loss, if one is a number."""
    if "val_loss" not in metrics or np.isnan(metrics["val_loss"].values).all():
        return None, None
    steps, values = metrics["val_loss"]
    best = int(np.nanargmin(values))
    return int(steps[best]), float(values[best])


def _number(summary: dict[str, Any], name: str) -> float | None:
    value = summary.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None  # type: ignore[return-value]


def _parameters(path: Path, summary: dict[str, Any]) -> int | None:
    """Return how many parameters a run's model has; None where neither summary nor checkpoint tells."""
    known = _number(summary, "parameters")
    if known is not None:
        return int(known)
    try:
        metadata = peek(path)
        _, params = model_structure(metadata.config, len(metadata.vocabulary))
    except JaxcharError:
        return None
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _differing(configs: Sequence[Config]) -> list[str]:
    """Return the names of the settings that are not the same in all of these, in their order."""
    records = [config.to_json() for config in configs]
    return [name for name in records[0] if any(record[name] != records[0][name] for record in records)]


def _to_json(run: ComparedRun, differing: Iterable[str]) -> dict[str, Any]:
    settings = run.config.to_json()
    return {
        "run": str(run.path),
        "settings": {name: settings[name] for name in differing},
        "steps": run.steps,
        "seconds": run.seconds,
        "best_step": run.best_step,
        "best_val_loss": run.best_val_loss,
        "parameters": run.parameters,
    }

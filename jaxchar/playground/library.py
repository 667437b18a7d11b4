"""The runs that a playground shows, and their models: found below the folders that were named, loaded once.

It keeps the few models that were used last. Several threads may ask at once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.record import read_metadata
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of
from jaxchar.language_model import LanguageModel, from_checkpoint
from jaxchar.memory.text_memory import TextMemory
from jaxchar.playground.refusal import UNKNOWN, Refusal
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.sampling.prompt_sources import default_prompt
from jaxchar.scoring.unit_states import parts_of
from jaxchar.training.run_folder import CONFIG

MOST_MODELS = 12  # loaded at a time, so that a slider over ten checkpoints waits once
MOST_VARIANTS = 12  # models with held units or a memory, likewise
MOST_METADATA = 1000
MOST_RUNS = 200


class Run(NamedTuple):
    """A run that is shown."""

    id: str
    path: Path  # without links


class Wanted(NamedTuple):
    """Which model a request wants."""

    model: str  # the id of a run
    step: int | None  # of the checkpoint; None: the best
    held: tuple[tuple[int, int, float], ...] = ()
    memory: float = 0.0


def wanted_of(asked: Mapping[str, Any]) -> Wanted:
    """Return which model a request wants, with all of its memory unless the request says how much."""
    held = tuple((each["layer"], each["unit"], each["value"]) for each in asked["held"])
    memory = asked.get("memory")
    return Wanted(asked["model"], asked["step"], held, memory if isinstance(memory, float) else 1.0)


class Library:
    """Runs, and the models of their checkpoints."""

    def __init__(self, paths: Sequence[str | PathLike[str]]) -> None:
        """Find the runs.

        Args:
            paths: run folders, or folders that hold run folders.

        Raises:
            JaxcharError: one of them holds no run.
        """
        found = dict.fromkeys(run for path in paths for run in runs_in(path))
        self.runs = {run.id: run for run in _named(list(found)[:MOST_RUNS])}
        self._models, self._variants, self._metadata = (
            _Kept(most) for most in (MOST_MODELS, MOST_VARIANTS, MOST_METADATA)
        )
        self._memories: dict[str, TextMemory] = {}

    def described(self) -> list[dict[str, Any]]:
        """Return what there is to know of every run with a whole checkpoint, as JSON objects."""
        found = ((run, self.checkpoints(run)) for run in self.runs.values())
        return [_described(run, checkpoints) for run, checkpoints in found if checkpoints]

    def run(self, name: str) -> Run:
        """Return a run by its id.

        Raises:
            Refusal: there is none.
        """
        if name not in self.runs:
            raise Refusal(f"there is no model {quoted(name)} here; ask for one of /api/models", UNKNOWN)
        return self.runs[name]

    def checkpoints(self, run: Run) -> dict[int, Metadata]:
        """Return the whole checkpoints of a run by their steps, ascending; a link to elsewhere is none."""
        found = {}
        for step in sorted(steps_in(run.path / FOLDER)):
            path = run.path / FOLDER / str(step)
            if path.resolve() == path:
                metadata = self._metadata.get(path, partial(_metadata_of, path))
                if metadata is not None:
                    found[step] = metadata
        return found

    def model(self, wanted: Wanted) -> LanguageModel:
        """Return a model, loaded where it is not yet.

        Raises:
            Refusal: there is no such run or step.
            JaxcharError: the checkpoint is damaged, or a held unit is none of the model's.
        """
        run = self.run(wanted.model)
        checkpoints = self.checkpoints(run)
        step = _best(checkpoints) if wanted.step is None else wanted.step
        if step not in checkpoints:
            known = ", ".join(map(str, checkpoints)) or "none yet"
            raise Refusal(f"{quoted(run.id)} has no checkpoint of step {step}; there are {known}", UNKNOWN)
        path = run.path / FOLDER / str(step)
        model = self._models.get(path, lambda: self._load(run, path))
        if not wanted.held and (model.remembering is None or wanted.memory == 1):
            return model
        return self._variants.get((path, *wanted[2:]), lambda: _variant(model, wanted))

    def _load(self, run: Run, path: Path) -> LanguageModel:
        """Load a checkpoint; those of one run share the text that they remember, which is sorted once."""
        model = from_checkpoint(load_checkpoint(path, weights_structure))
        if model.remembering is None:
            return model
        known, memory = self._memories.get(run.id), model.remembering.memory
        if known is None or not np.array_equal(known.ids, memory.ids):
            known = self._memories[run.id] = memory
        remembering = Remembering(known)
        return LanguageModel(model.config, model.vocabulary, model.graphdef, model.state, remembering)


def runs_in(path: str | PathLike[str]) -> list[Path]:
    """Return the run that a path is, or those in the folder that it is, without links.

    Raises:
        JaxcharError: there is none.
    """
    try:
        given = Path(path).expanduser().resolve()
        inside = [given] if _is_run(given) else sorted(each for each in given.iterdir() if _is_run(each))
        inside = [each for each in inside if each.resolve() == each]
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise JaxcharError(f"the run {quoted_path(path)} cannot be used: {reason_of(error)}") from error
    if not inside:
        raise JaxcharError(
            f"there is no run in {quoted_path(path)}; give a run's folder, or a folder that holds some"
        )
    return inside


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() or (path / FOLDER).is_dir()


def _named(paths: Iterable[Path]) -> list[Run]:
    """Return runs with names of their own: that of the folder, with a number where it is not the first."""
    names: dict[str, Path] = {}
    for path in paths:
        name, number = path.name, 2
        while name in names:
            name, number = f"{path.name} ({number})", number + 1
        names[name] = path
    return [Run(*named) for named in names.items()]


def _metadata_of(path: Path) -> Metadata | None:
    try:
        return read_metadata(path)
    except JaxcharError:  # damaged, or just being written
        return None


def _best(checkpoints: dict[int, Metadata]) -> int | None:
    """Return the step with the lowest validation loss; of equals, or where none was validated, the last."""
    return min(reversed(checkpoints), key=lambda step: checkpoints[step].validation_loss, default=None)


def _described(run: Run, checkpoints: dict[int, Metadata]) -> dict[str, Any]:
    best = _best(checkpoints)
    assert best is not None
    metadata = checkpoints[best]
    config, loss = metadata.config, metadata.validation_loss
    return {
        "id": run.id,
        "name": run.id,
        "cell": config.cell,
        "layers": list(config.layer_sizes),
        "vocabulary": len(metadata.vocabulary),
        "steps": list(checkpoints),
        "best_step": best,
        "parts": list(parts_of(metadata)),
        "has_memory": config.memory == "text",
        "validation_loss": loss if np.isfinite(loss) else None,
        "default_prompt": default_prompt(metadata.vocabulary),
    }


def _variant(model: LanguageModel, wanted: Wanted) -> LanguageModel:
    held = model.with_held_units(wanted.held) if wanted.held else model
    return held if held.remembering is None else held.with_memory(wanted.memory)


class _Kept:
    """The few values that were asked for last. Who asks for one that is being made waits for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                if value is not None:
                    self._values[key] = value
                while len(self._values) > self._most:
                    self._locks.pop(self._values.popitem(last=False)[0], None)
            return value

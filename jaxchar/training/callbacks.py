"""Code of the user's that a run calls: when training begins, after each evaluation, and at the end.

Nothing that a callback does changes what is learned: it is given copies, and its time is not counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxchar.ambient import pinned
from jaxchar.config import Config
from jaxchar.errors import JaxcharError, quoted
from jaxchar.parallel.devices import on_one_device
from jaxchar.parallel.processes import agree
from jaxchar.training.step import TrainState, evaluation_params

if TYPE_CHECKING:
    from jaxchar import LanguageModel

# (structure, parameters) -> the model
MakeModel = Callable[[Config, nnx.GraphDef, nnx.State], "LanguageModel"]


class Snapshot:
    """A run at a step, as a callback is given it."""

    def __init__(
        self,
        step: int,
        metrics: Mapping[str, float],
        config: Config,
        run_dir: Path,
        make_model: Callable[[], "LanguageModel"],
    ) -> None:
        """Take what is known at a step.

        Args:
            step: steps done.
            metrics: figures at this step, by their names in ``metrics.jsonl`` or ``summary.json``.
            config: all settings of the run.
            run_dir: its folder.
            make_model: makes the model of this step.
        """
        self.step = step
        self.metrics = MappingProxyType(dict(metrics))
        self.config = config
        self.run_dir = run_dir
        self._make_model: Callable[[], LanguageModel] | None = make_model
        self._model: LanguageModel | None = None

    @property
    def model(self) -> "LanguageModel":
        """The model of this step, made when it is first asked for; it stays as it is, and may be kept.

        Raises:
            JaxcharError: it was not asked for while the callback ran.
        """
        if self._model is None:
            if self._make_model is None:
                raise JaxcharError(
                    f"the model of step {self.step:,} is gone: training has gone on; ask for snapshot.model "
                    "while the callback runs"
                )
            self._model = self._make_model()
        return self._model

    def _close(self) -> None:
        """Make no more models: the weights are about to change."""
        self._make_model = None


class Callback(Protocol):
    """What a run calls; every method may be left out, and no base class is needed.

    An exception in any of them ends the run: its state is saved as after Ctrl-C, and then the exception
    goes on to the caller of :func:`jaxchar.fit`. The run can be resumed.
    """

    def on_train_begin(self, snapshot: Snapshot) -> None:
        """Be told that training begins, or goes on, at a step."""

    def on_evaluation(self, snapshot: Snapshot) -> bool | None:
        """Be told of an evaluation; return True to stop the run here.

        A run that was stopped so has saved its state, and can be resumed.
        """

    def on_train_end(self, snapshot: Snapshot) -> None:
        """Be told that everything is saved, whether the run is finished or was stopped."""


class _AtBegin(Protocol):
    def on_train_begin(self, snapshot: Snapshot) -> None: ...


class _AtEvaluation(Protocol):
    def on_evaluation(self, snapshot: Snapshot) -> bool | None: ...


class _AtEnd(Protocol):
    def on_train_end(self, snapshot: Snapshot) -> None: ...


SomeCallback = Callback | _AtBegin | _AtEvaluation | _AtEnd  # with one method or more, for type checkers
METHODS = ("on_train_begin", "on_evaluation", "on_train_end")


def checked_callbacks(callbacks: Iterable[Any] | None) -> list[Any]:
    """Return callbacks as a list.

    Raises:
        JaxcharError: they are no list, or one of them has none of the methods that are called.
    """
    if callbacks is None:
        return []
    if isinstance(callbacks, str | Mapping) or not isinstance(callbacks, Iterable):
        raise JaxcharError(
            f"callbacks must be a list, but it is {quoted(callbacks)}; give callbacks=[...], also of one"
        )
    found = list(callbacks)
    for callback in found:
        kind = callback if isinstance(callback, type) else type(callback)
        own = [name for name in METHODS if _method_of(callback, name) is not None]
        if isinstance(callback, type) or not own:
            others = sorted(name for name in dir(kind) if name.startswith("on_") and name not in METHODS)
            has = f" with {', '.join(others)}" if others else ""
            raise JaxcharError(
                f"a callback must be an object with at least one of {', '.join(METHODS)}, but it is "
                f"{quoted(callback)}{has}; see jaxchar.Callback"
            )
    return found


def _method_of(callback: Any, name: str) -> Callable[[Snapshot], Any] | None:
    """Return a method that a callback has itself; None for what :class:`Callback` only declares."""
    method = getattr(callback, name, None)
    declared = getattr(type(callback), name, None) is getattr(Callback, name)
    return None if declared or not callable(method) else method


class Callbacks:
    """The callbacks of one run: called in their order, and heard when they ask to stop."""

    def __init__(self, callbacks: Sequence[Any] = (), make_model: MakeModel | None = None) -> None:
        """Take them.

        Args:
            callbacks: as :func:`checked_callbacks` returns them.
            make_model: from settings, a structure, and parameters that are its own.
        """
        self._callbacks = callbacks
        self._make_model = make_model
        self.asks_to_stop = False
        self.error: Exception | SystemExit | None = None  # of a callback, which ends the run

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._callbacks)

    def call(
        self,
        name: str,
        state: TrainState,
        graphdef: nnx.GraphDef,
        metrics: Mapping[str, float],
        config: Config,
        run_dir: Path,
    ) -> None:
        """Call a method of every callback, and note what it asks for; no exception leaves this.

        Several processes call theirs together, and stop together.

        Args:
            name: one of :data:`METHODS`.
            state: of training.
            graphdef: the network's structure.
            metrics: figures at this step.
            config: all settings.
            run_dir: the run's folder.
        """
        if not self._callbacks:
            return

        @pinned()
        def make_model() -> "LanguageModel":
            assert self._make_model is not None
            copied = jax.tree.map(jnp.copy, on_one_device(evaluation_params(state)))
            return self._make_model(config, graphdef, copied)

        snapshot = Snapshot(int(state.step), metrics, config, run_dir, make_model)
        stops = False
        try:
            for callback in self._callbacks:
                method = _method_of(callback, name)
                answer = None if method is None else method(snapshot)
                stops |= isinstance(answer, bool | np.bool_) and bool(answer)
        except (Exception, SystemExit) as error:
            self.error = error
        snapshot._close()
        failed, stops = map(bool, agree(int(self.error is not None), int(stops)))
        if failed and self.error is None:
            self.error = JaxcharError("a callback has failed in another process of this run")
        self.asks_to_stop |= stops or failed

    def raise_error(self) -> None:
        """Raise the exception that a callback has raised, if one has."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

"""Callbacks that send the figures of a run elsewhere: to TensorBoard, or to Weights & Biases."""

import uuid
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from jaxchar.errors import JaxcharError, quoted
from jaxchar.parallel.processes import is_first
from jaxchar.training.callbacks import Callback, Snapshot
from jaxchar.training.metrics import METRICS, metrics_in

LoggerName = Literal["tensorboard", "wandb"]
FOLDER = "tensorboard"  # in the run's folder
WANDB_ID = "wandb_id.txt"  # in the run's folder: which run of Weights & Biases has its figures


class Logger(Callback):
    """Sends every figure of ``metrics.jsonl`` that is new, after each evaluation and at the end.

    Where sending fails, it is said once, and the run goes on.
    """

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._sent: dict[str, int] = {}  # the last step of each figure
        self._is_open = False

    def on_train_begin(self, snapshot: Snapshot) -> None:
        """Begin; what was logged before a run was resumed has been sent then."""
        self._sent = {} if snapshot.step == 0 else dict.fromkeys(_steps(snapshot), snapshot.step)
        if is_first():
            self._is_open = True
            self._attempt(self._open, snapshot)

    def on_evaluation(self, snapshot: Snapshot) -> None:
        """Send what is new."""
        self._attempt(self._send_new, snapshot)

    def on_train_end(self, snapshot: Snapshot) -> None:
        """Send the rest."""
        self._attempt(self._send_new, snapshot)
        self._attempt(lambda _: self._close(), snapshot)
        self._is_open = False

    def _send_new(self, snapshot: Snapshot) -> None:
        for name, series in metrics_in(snapshot.run_dir / METRICS).items():
            for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
                if step > self._sent.get(name, -1):
                    self._send(name, step, value)
                    self._sent[name] = step

    def _attempt(self, work: Any, snapshot: Snapshot) -> None:
        """Do some work of a logger's, as long as none has failed."""
        if not self._is_open:
            return
        try:
            work(snapshot)
        except Exception as error:  # whatever another library raises
            self._is_open = False
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            warnings.warn(
                f"{type(self).__name__} has failed: {reason}; the run goes on, its figures are in {METRICS}",
                stacklevel=2,
            )

    def _open(self, snapshot: Snapshot) -> None:
        raise NotImplementedError

    def _send(self, name: str, step: int, value: float) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class TensorBoard(Logger):
    """Writes the figures of a run for TensorBoard: ``tensorboard --logdir runs``."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Take where to write.

        Args:
            folder: None: ``tensorboard`` in the run's folder.

        Raises:
            JaxcharError: the package tensorboardX is missing.
        """
        super().__init__()
        self._folder = folder
        self._library = _import("tensorboardX", "tensorboardX", "tensorboard")

    def _open(self, snapshot: Snapshot) -> None:
        folder = Path(self._folder or snapshot.run_dir / FOLDER).expanduser()
        # Figures of steps after the one that a run is resumed at are taken out.
        self._writer = self._library.SummaryWriter(str(folder), purge_step=snapshot.step + 1)

    def _send(self, name: str, step: int, value: float) -> None:
        self._writer.add_scalar(name, value, step)

    def _close(self) -> None:
        self._writer.close()


class WandB(Logger):
    """Sends the figures of a run to Weights & Biases, with its settings.

    A run that is resumed goes on as the same run there. Settings that change on the way are sent again: the
    number of steps, where it is corrected.
    """

    def __init__(self, **options: Any) -> None:
        """Take options of ``wandb.init``, such as ``project`` and ``mode``.

        Raises:
            JaxcharError: the package wandb is missing.
        """
        super().__init__()
        self._options = options
        self._library = _import("wandb", "wandb", "wandb")

    def _open(self, snapshot: Snapshot) -> None:
        options: dict[str, Any] = {
            "project": "jaxchar",
            "name": snapshot.run_dir.name,
            "dir": str(snapshot.run_dir),
            "id": self._id_of(snapshot),
            "resume": "allow",
            "config": snapshot.config.to_json(),
        }
        self._config = snapshot.config
        self._run = self._library.init(**{**options, **self._options})
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _send_new(self, snapshot: Snapshot) -> None:
        if snapshot.config != self._config:
            self._config = snapshot.config
            self._run.config.update(snapshot.config.to_json(), allow_val_change=True)
        super()._send_new(snapshot)

    def _send(self, name: str, step: int, value: float) -> None:
        self._run.log({name: value, "step": step})

    def _close(self) -> None:
        self._run.finish()

    @staticmethod
    def _id_of(snapshot: Snapshot) -> str:
        """Return the run's name at Weights & Biases, a new one where training begins."""
        file = snapshot.run_dir / WANDB_ID
        if snapshot.step == 0 or not file.exists():
            file.write_text(uuid.uuid4().hex[:8] + "\n", encoding="utf-8")
        return file.read_text(encoding="utf-8").strip()


def logger_named(name: LoggerName) -> Logger:
    """Return the logger of a name, as ``jaxchar train --logger`` takes it.

    Raises:
        JaxcharError: there is none, or its package is missing.
    """
    if name not in get_args(LoggerName):
        raise JaxcharError(f"--logger must be 'tensorboard' or 'wandb', but it is {quoted(name)}")
    return TensorBoard() if name == "tensorboard" else WandB()


def _steps(snapshot: Snapshot) -> list[str]:
    """Return the names of the figures that are logged so far."""
    return list(metrics_in(snapshot.run_dir / METRICS))


def _import(module: str, package: str, extra: str) -> Any:
    """Return a module of an optional package.

    Raises:
        JaxcharError: it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        why = "is not installed" if missing else f"cannot be imported ({str(error).splitlines()[0]})"
        raise JaxcharError(
            f"the package {package} {why}; install it: pip install {package} (or pip install "
            f"'jaxchar[{extra}]')",
        ) from error

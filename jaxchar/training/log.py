"""The metrics of a run over its steps, and what is said of steps that were skipped."""

import numpy as np
import optax

from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.model.loss import Means, bits_per_char
from jaxchar.model.optimizer import make_schedule
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.step import Program, TrainState


class Log:
    """Writes lines of metrics.jsonl."""

    def __init__(
        self,
        config: Config,
        program: Program,
        state: TrainState,
        folder: RunFolder,
        display: GuardedDisplay,
    ) -> None:
        """Begin with the state before the first step that is to be done."""
        self._steps_per_epoch = program.batches.steps_per_epoch
        self._schedule = make_schedule(
            config, config.learning_rate, self._steps_per_epoch, program.total_steps
        )
        self._has_own_optimizer = config.optimizer == "custom"
        self._counts_skipped = config.skip_nonfinite
        self._skipped = int(state.skipped)
        self._folder = folder
        self._display = display

    def position(self, step: int) -> str:
        """Return the epoch that a step was of, and that step, in words."""
        epoch = max(1, -(-step // self._steps_per_epoch))
        return f"epoch {epoch}  step {step:,}"

    def write(self, state: TrainState, seconds: float, **figures: float) -> None:
        """Write a line with these figures, where training is, and how long it took."""
        step = int(state.step)
        figures = {**figures, "smoothed_loss": float(state.smoothed_loss), **self._learning_rate(state)}
        if self._counts_skipped:
            figures["skipped_steps"] = self._skipped
        where = {"step": step, "epoch": step / self._steps_per_epoch}
        self._folder.log_metrics({**where, **figures, "seconds": round(seconds, 3)})

    def write_training(self, state: TrainState, seconds: float, train: Means) -> None:
        """Write a line with the figures of the steps since the last one."""
        self.write(state, seconds, train_loss=train.loss, train_accuracy=train.accuracy)

    def write_evaluation(self, state: TrainState, seconds: float, val: Means) -> None:
        """Write a line with the figures of the held-out text."""
        figures = {"val_loss": val.loss, "val_accuracy": val.accuracy}
        self.write(state, seconds, **figures, val_bits_per_char=bits_per_char(val.loss))

    def _learning_rate(self, state: TrainState) -> dict[str, float]:
        """Return the learning rate; of a user's own optimizer, that in its state, if one is there."""
        if not self._has_own_optimizer:
            return {"learning_rate": float(self._schedule(np.int32(int(state.step))))}
        found = optax.tree.get_all_with_path(state.opt_state, "learning_rate")
        return {"learning_rate": float(found[0][1])} if found and np.ndim(found[0][1]) == 0 else {}

    def tell_skipped(self, state: TrainState) -> None:
        """Say that steps were skipped; end a run that skips a whole epoch.

        Raises:
            JaxcharError: no step of the epoch that ends now was finite.
        """
        step, skipped = int(state.step), int(state.skipped)
        if skipped > self._skipped:
            self._display.notice(f"warning: by step {step:,}, {skipped:,} steps were not finite: skipped")
            self._skipped = skipped
        if step % self._steps_per_epoch == 0 and not int(state.epoch_totals.count):
            raise JaxcharError(
                f"no step of the epoch that ended at step {step:,} was finite: training has diverged; "
                "begin anew with a lower --learning-rate or --clip-norm 1"
            )

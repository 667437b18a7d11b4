"""Saving a run: checkpoints now and at the end, and what the user is told when a save fails."""

import contextlib

import numpy as np

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.errors import JaxcharError
from jaxchar.memory.text_memory import MOST_SYMBOLS
from jaxchar.progress.guard import GuardedDisplay, reason_of
from jaxchar.training.evaluations import Evaluations
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.step import Program, TrainState


class Saver:
    """Saves the states of one run into its store, and tells of saves and logs that fail."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        program: Program,
        folder: RunFolder,
        store: CheckpointStore,
        display: GuardedDisplay,
        resumed_from: Metadata | None,
    ) -> None:
        """Take what saving needs.

        Args:
            config: all settings.
            dataset: the text.
            program: tells the steps of an epoch and the number of devices.
            folder: the run's.
            store: its checkpoints.
            display: where a failure is told.
            resumed_from: the metadata of the checkpoint that the run goes on from; None: it is new.
        """
        self.saved_at = None if resumed_from is None else resumed_from.step
        self._settings_to_write = False
        self.config = config
        self._dataset = dataset
        keeps_text = config.memory == "text" and len(dataset.vocabulary) <= MOST_SYMBOLS
        self._remembered = np.asarray(dataset.splits["train"]) if keeps_text else None
        self._steps_per_epoch = program.batches.steps_per_epoch
        # Asked now: what is installed may be another version by the next save, or gone.
        self._versions, self._machine = library_versions(), describe_machine(program.mesh.size)
        self._folder = folder
        self._store = store
        self._display = display
        self._told: tuple[str | None, ...] = (None, None)  # the errors that the user knows of

    def write_settings(self) -> None:
        """Write the settings, which have changed, with the next save."""
        self._settings_to_write = True

    def save(self, state: TrainState, seconds: float, evaluations: Evaluations) -> None:
        """Save a state, as soon as the save before has ended.

        Args:
            state: after the last step.
            seconds: of training until now.
            evaluations: until now.
        """
        with contextlib.suppress(JaxcharError, OSError):  # the save will say what is wrong
            if not self._folder.holds_run():
                self._display.notice(
                    f"warning: {self._folder.path} has vanished, with what was in it; making it anew"
                )
                self._settings_to_write = True
            if self._settings_to_write:
                self._folder.create(self.config)
                self._settings_to_write = False
        step = int(state.step)
        try:
            self._store.save(state, self._metadata(step, seconds, evaluations), self._remembered)
        except OSError as error:  # of the logs, whose sizes are noted in it
            self._store.wait()
            self._store.last_error = f"the checkpoint of step {step:,} could not be saved: {reason_of(error)}"
        self.saved_at = step

    def save_the_end(self, state: TrainState, seconds: float, evaluations: Evaluations) -> None:
        """Make sure that the last step is saved, and wait for it; see :meth:`save`.

        Raises:
            JaxcharError: it could not be saved.
        """
        self._folder.write_what_is_left()
        with self._display.phase("saving ..."):
            if self.saved_at != int(state.step):
                self.save(state, seconds, evaluations)
            self._store.wait()
            if self._store.last_error is not None:  # there may be room again
                self.tell_errors()
                self.save(state, seconds, evaluations)
                self._store.wait()
        self.tell_errors()
        if self._store.last_error is not None:
            newest = self._store.newest_step
            kept = "older ones are as they were" if newest is None else f"the newest is of step {newest:,}"
            raise JaxcharError(
                f"{self._store.last_error}; {kept}; make room or mend the folder, and --resume"
            )

    def tell_errors(self) -> None:
        """Say once what cannot be written, and once when it can be again."""
        errors = (self._store.last_error, self._folder.last_error)
        for error in set(errors) - {None, *self._told}:
            self._display.notice(f"warning: {error}; training goes on, and tries again")
        if any(self._told) and not any(errors):
            self._display.notice("Saving works again.")
        self._told = errors

    def _metadata(self, step: int, seconds: float, evaluations: Evaluations) -> Metadata:
        last = evaluations.last_to_json()
        evaluated_now = last if last.get("step") == step else {}
        return Metadata(
            step=step,
            epoch=step // self._steps_per_epoch,
            steps_per_epoch=self._steps_per_epoch,
            config=self.config,
            vocabulary=self._dataset.vocabulary,
            corpus=self._dataset.identity.to_json(),
            metrics={"seconds": round(seconds, 3)} | evaluated_now,
            last=last,
            best=evaluations.best_to_json(),
            logs=self._folder.log_sizes(),
            versions=self._versions,
            machine=self._machine,
        )

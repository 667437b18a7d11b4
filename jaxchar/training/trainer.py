"""The loop: steps, evaluation, samples, checkpoints, progress.

A run is cut into calls of ``train_steps`` at the steps where something is to be done; where the cuts lie
changes no bit of the result. The length of a planned run is corrected once, while nothing depends on it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.dataset import Dataset
from jaxchar.errors import JaxcharError
from jaxchar.model.loss import Means
from jaxchar.parallel.devices import replicate
from jaxchar.parallel.processes import agree
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.callbacks import Callbacks
from jaxchar.training.due import Due
from jaxchar.training.evaluations import Evaluations
from jaxchar.training.evaluator import Evaluator
from jaxchar.training.log import Log
from jaxchar.training.pace import Pace, length_corrected, stopped_by_callback, time_is_up
from jaxchar.training.run_folder import RunFolder
from jaxchar.training.samples import Sampler
from jaxchar.training.saving import Saver
from jaxchar.training.signals import name_of, stop_requests
from jaxchar.training.step import Correction, Program, TrainState, divergence, figures_of, total_steps
from jaxchar.training.summary import RunResult, summarize, write_report


class Trainer:
    """One run from a state to its end."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        program: Program,
        state: TrainState,
        folder: RunFolder,
        store: CheckpointStore,
        display: GuardedDisplay,
        *,
        resumed_from: Metadata | None = None,
        deadline: float | None = None,
        callbacks: Callbacks | None = None,
        correct: Correction | None = None,
    ) -> None:
        """Take everything that a run is made of; see :func:`jaxchar.fit` for the usual way in.

        Args:
            config: all settings.
            dataset: the text.
            program: the compiled functions for both.
            state: before the first step that is to be done.
            folder: where the run's files go; its logs are cut to what the state has seen.
            store: where its checkpoints go.
            display: where it is shown.
            resumed_from: the metadata of the checkpoint that the state is from.
            deadline: by ``time.monotonic()``; training stops then, wherever it is.
            callbacks: what it calls on its way; None: nothing.
            correct: asked once, where nothing depends yet on how long the run is.
        """
        self.dataset = dataset
        self.state = replicate(state, program.mesh)
        self.folder = folder
        self.display = display
        self.step = int(state.step)
        self.is_finished = False  # whether nothing is left to train
        self.evaluations = Evaluations.of(resumed_from)
        self.pace = Pace(deadline=deadline)
        self._callbacks = callbacks or Callbacks()
        self._correct = correct
        self._out_of_time = 0
        self._steps_per_epoch = program.batches.steps_per_epoch
        self._text = replicate(dataset.training_text, program.mesh)
        self._saver = Saver(config, dataset, program, folder, store, display, resumed_from)
        self._take_up(config, program)
        self._evaluator = Evaluator(config, dataset, program, display, self.evaluations)
        if resumed_from:
            self._go_on_from(resumed_from)

    def _take_up(self, config: Config, program: Program) -> None:
        """Train with these settings from here on."""
        self.config, self.program, self._saver.config = config, program, config
        self._sampler = Sampler(config, self.dataset, program)
        self._due = Due(config, self._steps_per_epoch, program.total_steps)
        self._log = Log(config, program, self.state, self.folder, self.display)

    def _go_on_from(self, metadata: Metadata) -> None:
        """Take up the bookkeeping of the checkpoint that the state is from."""
        self.pace.seconds = metadata.metrics.get("seconds", 0.0)
        self.folder.cut_logs(metadata.logs)
        # A run that was stopped early goes on where more steps are asked for than before.
        before = total_steps(metadata.config, self._steps_per_epoch)
        self.is_finished = self._due.is_last(self.step) or (
            self._gave_up() and self.program.total_steps <= before
        )

    def run(self) -> RunResult:
        """Train to the end, or until a signal asks to stop; then save, and sum up."""
        leave = self.display.leave if self.display.owns_process else None
        with stop_requests(self._announce_stop, leave) as requested:
            with self.display.live(self.program.total_steps):
                stopped_by = self._train(requested)
                self._saver.save_the_end(self.state, self.pace.seconds, self.evaluations)
            self.is_finished = not (stopped_by or self._out_of_time or self._callbacks.asks_to_stop)
            result = self.sum_up(stopped_by or None)
        self._callbacks.raise_error()
        self._call_back("on_train_end", **result.figures)
        self._callbacks.raise_error()
        return result

    def sum_up(self, stopped_by: int | None = None) -> RunResult:
        """Write the summary and the picture, unless they are there; either may fail, which is told."""
        pace, per_epoch = self.pace, self._steps_per_epoch
        summary = summarize(self.state, pace.seconds, self.config, per_epoch, self.evaluations)
        summary = write_report(self.folder, self.dataset, self.display, summary, is_new=pace.steps_timed > 0)
        return RunResult(self.folder.path, summary, stopped_by)

    # ---- the loop --------------------------------------------------------------------------------

    def _train(self, requested: Callable[[], int]) -> int:
        """Train to the end, or until a signal asks to stop; return the number of that signal, or 0."""
        train_steps = self._compiled()
        self._call_back("on_train_begin", **self.evaluations.last_metrics())
        chunk, stopped_by, self._out_of_time = agree(1, requested(), 0)
        while not self._due.is_last(self.step) and not self._callbacks.asks_to_stop:
            if stopped_by:
                return stopped_by
            chunk = self._train_chunk(train_steps, chunk)
            self._do_what_is_due()
            is_corrected = self._correct_length()
            is_best = self.evaluations.best.step == self.step
            if is_corrected or is_best or self._due.is_due("saving", self.step):
                self._save()
            self._saver.tell_errors()
            if is_corrected:
                train_steps = self._compiled()
            if self._gave_up() or self._out_of_time:
                break
            chunk, stopped_by, self._out_of_time = agree(chunk, requested(), int(self.pace.is_late()))
        if self._out_of_time:
            self.display.notice(time_is_up(self.step, self.program.total_steps))
        elif self._callbacks.asks_to_stop and self._callbacks.error is None:
            self.display.notice(stopped_by_callback(self.step, self.program.total_steps))
        return 0

    def _correct_length(self) -> bool:
        """Let the run have another last step, if its plan was wrong about the machine; return whether."""
        stops = self._gave_up() or self._out_of_time or self._callbacks.asks_to_stop
        if self._correct is None or stops or self.step != self.config.hold_until:
            return False
        before, found = self.program.total_steps, self._correct(self.step, self.pace.steps_per_second)
        if found is None:
            return False
        self._take_up(*found)
        self.display.ends_at(self.program.total_steps)
        self.display.notice(length_corrected(before, self.program.total_steps, self._steps_per_epoch))
        self._saver.write_settings()
        return True

    def _announce_stop(self, number: int) -> None:
        doing = "finishing" if self.is_finished else "saving"
        self.display.notice(f"{name_of(number)}: {doing} ... (Ctrl-C again leaves at once, without saving)")

    def _compiled(self) -> jax.stages.Compiled:
        with self._phase("compiling"):
            return self.program.compiled_for(self.state, self._text)

    @contextlib.contextmanager
    def _phase(self, work: str) -> Iterator[None]:
        """Show some work that is not training, and take down how long it takes."""
        with self.display.phase(f"{work} ..."), self.pace.measured(work):
            yield

    def _train_chunk(self, train_steps: jax.stages.Compiled, steps: int) -> int:
        """Train at most so many steps; return how many the next call should do."""
        started = time.perf_counter()
        stop = self._due.next_stop(self.step, self.step + steps)
        self.state, finite = jax.block_until_ready(
            train_steps(self.state, self._text, np.int32(stop), self.program.seed)
        )
        finite, figures = jax.device_get((finite, figures_of(self.state)))
        self._figures = figures._replace(opt_state=self.state.opt_state)  # may hold a rate of the user's own
        if not finite:
            raise JaxcharError(divergence(self.state, self._saver.saved_at))
        next_chunk = self.pace.add(stop - self.step, time.perf_counter() - started)
        self.step = stop
        return next_chunk

    # ---- what is due at a step -------------------------------------------------------------------

    def _gave_up(self) -> bool:
        return self.evaluations.gave_up(self.step, self.config.early_stopping)

    def _do_what_is_due(self) -> None:
        self._log.tell_skipped(self._figures)
        recent = Means.of(self._figures.recent_totals)
        if recent.count:
            self._show_progress(recent)
            if self.step % self.config.log_every == 0:
                self._log.write_training(self._figures, self.pace.seconds, recent)
        if self._due.is_due("evaluating", self.step):
            self._evaluate_now()
        if self._due.is_due("sampling", self.step):
            with self._phase("sampling"):
                self._sample_now()

    def _show_progress(self, recent: Means) -> None:
        steps_per_second, total = self.pace.steps_per_second, self.program.total_steps
        rates = (steps_per_second, steps_per_second * self.config.batch_size * self.config.seq_len)
        left = self.pace.seconds_left(self.step, total, self._due.periods)
        position = f"{self._log.position(self.step)}/{total:,}"
        self.display.progress(self.step, position, recent.loss, recent.accuracy, rates, left)

    def _evaluate_now(self) -> None:
        val = None
        if self._evaluator.has_text:
            with self._phase("evaluating"):
                val = self._evaluator.validate(self.state)
            self._log.write_evaluation(self._figures, self.pace.seconds, val)
        self._evaluator.take_down(val, self._figures, self._log.position(self.step))
        train = Means.of(self._figures.epoch_totals)
        known = {} if val is None else self.evaluations.last_metrics()
        self._call_back("on_evaluation", train_loss=train.loss, train_accuracy=train.accuracy, **known)

    def _call_back(self, method: str, **metrics: float) -> None:
        """Call the callbacks; their time is not that of training."""
        if self._callbacks:
            with self._phase("calling back"):
                self._callbacks.call(
                    method, self.state, self.program.graphdef, metrics, self.config, self.folder.path
                )

    def _sample_now(self) -> None:
        for sample in self._sampler.samples(self.state, self.step):
            self.folder.log_sample(*sample)
            self.display.sample(*sample)

    def _save(self) -> None:
        with self._phase("saving"):
            self._saver.save(self.state, self.pace.seconds, self.evaluations)

"""The loop: steps, evaluation, samples, checkpoints, progress.

Nothing here changes what is learned: a run is cut into calls of ``train_steps`` at the steps where
something is to be done, and where the cuts lie changes no bit of the result.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxchar.batches import Streams
from jaxchar.checkpoint import CheckpointStore
from jaxchar.config import Config
from jaxchar.console import TrainingDisplay
from jaxchar.dataset import Dataset
from jaxchar.devices import on_one_device, replicate
from jaxchar.errors import JaxcharError
from jaxchar.generate import Generator
from jaxchar.loss import Means, bits_per_char
from jaxchar.metadata import Metadata, describe_machine, library_versions
from jaxchar.optimizer import make_schedule
from jaxchar.plot import plot_loss
from jaxchar.processes import agree
from jaxchar.reader import Context, StreamContext
from jaxchar.run_folder import PICTURE, SUMMARY, RunFolder, Series
from jaxchar.step import (
    SAMPLE_KEY,
    Program,
    TrainState,
    evaluation_batches,
    evaluation_params,
    last_character,
    make_evaluation,
    purpose_key,
)

CHUNK_SECONDS = 0.25  # how long one call of train_steps should last: progress, Ctrl-C
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunResult(NamedTuple):
    """What a run came to."""

    run_dir: Path
    summary: dict[str, Any]  # as in summary.json
    stopped_by: int | None  # the signal that ended it early, if one did

    @property
    def metrics(self) -> dict[str, Series]:
        """Every figure over the steps, by its name: ``steps, losses = run.metrics["val_loss"]``."""
        return RunFolder(self.run_dir).metrics()


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
        display: TrainingDisplay,
    ) -> None:
        """Take everything that a run is made of; see :func:`jaxchar.fit` for the usual way in."""
        self.config = config
        self.dataset = dataset
        self.program = program
        self.state = replicate(state, program.mesh)
        self.folder = folder
        self.store = store
        self.display = display
        self.step = int(state.step)
        self.last: dict[str, float] = {}  # evaluation: step, val_loss, val_accuracy
        self.best: dict[str, float] = {}  # evaluation: step, val_loss, evaluations_since
        self.seconds = 0.0  # of training: no compilation, evaluation, sampling or saving
        self._saved_at: int | None = None
        self._problems: tuple[str | None, ...] = (None, None)  # of writing, that the user has been told
        self._skipped = int(state.skipped)
        self._steps_timed = 0
        self._seconds_timed = 0.0
        self._text = replicate(dataset.training_text, program.mesh)
        self._schedule = make_schedule(
            config, config.learning_rate, program.batches.steps_per_epoch, program.total_steps
        )
        self._generator = Generator(program.graphdef, config.context_limit)
        self._evaluate = self._make_evaluation()

    def go_on_from(self, metadata: Metadata) -> None:
        """Take up the bookkeeping of a checkpoint whose state this trainer was given."""
        self.best = dict(metadata.best)
        self.seconds = metadata.metrics.get("seconds", 0.0)
        self.last = dict(metadata.last)
        self._saved_at = metadata.step
        self.folder.cut_logs(metadata.logs)

    def run(self) -> RunResult:
        """Train to the end, or until a signal asks to stop; then save, and sum up."""
        with _stop_requests(self.display.leave) as requested, self.display.live(self.program.total_steps):
            train_steps = self._compiled()
            chunk, stopped_by = agree(1, requested())
            while self.step < self.program.total_steps and not stopped_by:
                chunk = self._train_chunk(train_steps, chunk)
                self._do_what_is_due()
                if self._is_due(self.config.checkpoint_every) or self._is_best():
                    self._save()
                self._tell_problems()
                if self._gave_up():
                    break
                chunk, stopped_by = agree(chunk, requested())
            self._save_the_end()
        return self._finish(stopped_by or None)

    # ---- one round of the loop -------------------------------------------------------------------

    def _compiled(self) -> jax.stages.Compiled:
        lowered = self.program.train_steps.lower(self.state, self._text, np.int32(0))
        return lowered.compile()

    def _train_chunk(self, train_steps: jax.stages.Compiled, steps: int) -> int:
        """Train at most so many steps; return how many the next call should do."""
        started = time.perf_counter()
        stop = self._next_stop(self.step + steps)
        self.state, finite = jax.block_until_ready(train_steps(self.state, self._text, np.int32(stop)))
        if not finite:
            raise JaxcharError(self._divergence())
        next_chunk = self._timed(stop - self.step, time.perf_counter() - started)
        self.step = stop
        return next_chunk

    def _divergence(self) -> str:
        loss_is_finite = math.isfinite(float(self.state.recent_totals.loss))
        kept = (
            "none was saved yet" if self._saved_at is None else f"the last one is of step {self._saved_at:,}"
        )
        return (
            f"the {'gradient' if loss_is_finite else 'loss'} of step {int(self.state.step):,} is not finite: "
            f"training has diverged; begin anew, or from the last good checkpoint ({kept}) with --init-from, "
            "with a lower --learning-rate or --clip-norm 1, or leave such steps out with --skip-nonfinite"
        )

    def _next_stop(self, wished: int) -> int:
        """Return the step to train to: the one wished for, or an earlier one where something is due."""
        config = self.config
        periods = (config.log_every, *map(self._period, (config.eval_every, config.checkpoint_every)))
        periods += (self._period(config.sample_every),)
        stops = [self.step - self.step % period + period for period in periods]
        return min(wished, self.program.total_steps, *stops)

    def _period(self, every: int | None) -> int:
        return every or self.program.batches.steps_per_epoch

    def _is_due(self, every: int | None) -> bool:
        return self.step % self._period(every) == 0 or self.step == self.program.total_steps

    def _timed(self, steps: int, seconds: float) -> int:
        """Take down how long some steps took; return how many the next call should do."""
        self._steps_timed += steps
        self._seconds_timed += seconds
        self.seconds += seconds
        return max(1, min(4 * steps, round(CHUNK_SECONDS * steps / seconds)))

    def _do_what_is_due(self) -> None:
        self._tell_skipped()
        recent = Means.of(self.state.recent_totals)
        if recent.count:
            self._show_progress(recent)
            if self.step % self.config.log_every == 0:
                self._log(train_loss=recent.loss, train_accuracy=recent.accuracy)
        if self._is_due(self.config.eval_every):
            self._evaluate_now()
        if self.config.sample_length and self._is_due(self.config.sample_every):
            self._sample_now()

    def _tell_skipped(self) -> None:
        """Say that steps were skipped; end a run that skips a whole epoch."""
        skipped = int(self.state.skipped)
        if skipped > self._skipped:
            self.display.notice(f"warning: by step {self.step:,}, {skipped:,} steps were not finite: skipped")
            self._skipped = skipped
        if self.step % self.program.batches.steps_per_epoch == 0 and not int(self.state.epoch_totals.count):
            raise JaxcharError(
                f"no step of the epoch that ended at step {self.step:,} was finite: training has diverged; "
                "begin anew with a lower --learning-rate or --clip-norm 1"
            )

    def _log(self, **figures: float) -> None:
        smoothed = float(self.state.smoothed_loss)
        rate = float(self._schedule(np.int32(self.step)))
        where = {"step": self.step, "epoch": self.step / self.program.batches.steps_per_epoch}
        figures = {**figures, "smoothed_loss": smoothed, "learning_rate": rate}
        if self.config.skip_nonfinite:
            figures["skipped_steps"] = self._skipped
        self.folder.log_metrics({**where, **figures, "seconds": round(self.seconds, 3)})

    # ---- progress --------------------------------------------------------------------------------

    @property
    def _steps_per_second(self) -> float:
        return self._steps_timed / max(self._seconds_timed, 1e-9)

    @property
    def _chars_per_second(self) -> float:
        """Characters read by the model, every window's anew."""
        return self._steps_per_second * self.config.batch_size * self.config.seq_len

    def _position(self) -> str:
        per_epoch = self.program.batches.steps_per_epoch
        epoch = min(self.step // per_epoch + 1, -(-self.program.total_steps // per_epoch))
        return f"epoch {epoch}  step {self.step:,}/{self.program.total_steps:,}"

    def _show_progress(self, recent: Means) -> None:
        left = (self.program.total_steps - self.step) / max(self._steps_per_second, 1e-9)
        rates = (self._steps_per_second, self._chars_per_second)
        self.display.progress(self.step, self._position(), recent.loss, recent.accuracy, rates, left)

    # ---- evaluation ------------------------------------------------------------------------------

    def _make_evaluation(self) -> Callable[[nnx.State], Means] | None:
        num_chars = len(self.dataset.splits["validation"])
        if num_chars == 0:
            return None
        mesh = self.program.mesh
        ids = replicate(self.dataset.splits["validation"], mesh)
        batches = evaluation_batches(self.config, num_chars)
        evaluate = make_evaluation(self.program.graphdef, batches, mesh)
        return lambda params: Means.of(evaluate(params, ids))

    def _evaluate_now(self) -> None:
        train = Means.of(self.state.epoch_totals)
        val, is_best = None, False
        if self._evaluate is not None:
            val = self._evaluate(evaluation_params(self.state))
            self.last = {"step": self.step, "val_loss": val.loss, "val_accuracy": val.accuracy}
            is_best = val.loss < self.best.get("val_loss", float("inf"))
            if is_best:
                self.best = {"step": self.step, "val_loss": val.loss, "evaluations_since": 0}
            else:
                self.best["evaluations_since"] = self.best.get("evaluations_since", 0) + 1
            bits = bits_per_char(val.loss)
            self._log(val_loss=val.loss, val_accuracy=val.accuracy, val_bits_per_char=bits)
        per_epoch = self.program.batches.steps_per_epoch
        position = f"epoch {-(-self.step // per_epoch)}  step {self.step:,}"
        self.display.evaluation(position, train, val, is_best)

    def _is_best(self) -> bool:
        """Whether this very step is the best that was evaluated."""
        return self.best.get("step") == self.step

    def _gave_up(self) -> bool:
        """Whether early stopping says, after an evaluation at this step, that it is enough."""
        patience = self.config.early_stopping
        bad = self.best.get("evaluations_since", 0)
        return bool(patience) and self.last.get("step") == self.step and bad >= patience

    # ---- samples ---------------------------------------------------------------------------------

    def _sample_now(self) -> None:
        vocabulary = self.dataset.vocabulary
        key = jax.random.fold_in(purpose_key(self.config.seed, SAMPLE_KEY), self.step)
        params, context, prompt = self._sample_start(key)
        for number, temperature in enumerate(self.config.sample_temperatures):
            pieces = self._generator.ids(
                params,
                context,
                self.config.sample_length,
                temperature=temperature,
                key=jax.random.fold_in(key, number),
            )
            text = "".join(vocabulary.decode(piece) for piece in pieces)
            title = f"sample at step {self.step:,}, temperature {temperature}"
            self.folder.log_sample(title, prompt, text)
            self.display.sample(title, prompt, text)

    def _sample_start(self, key: jax.Array) -> tuple[nnx.State, Context, str]:
        """Return the parameters, the context and the prompt that samples go on from."""
        config, vocabulary = self.config, self.dataset.vocabulary
        state, ids = on_one_device(self.state), self.dataset.splits["train"]
        if config.sample_from == "training":
            carry = jax.tree.map(lambda leaf: leaf[:1], state.carry)
            batches = self.program.batches
            assert isinstance(batches, Streams)  # the configuration sees to it
            last = last_character(config, batches, self.dataset.training_text, self.step)
            prompt = vocabulary.decode(np.asarray(last)[None])
            return state.params, StreamContext(carry, last), prompt
        params = evaluation_params(state)
        prompt = config.sample_prompt
        if config.sample_from == "corpus":
            length = min(config.seq_len, len(ids))
            start = int(jax.random.randint(key, (), 0, len(ids) - length + 1))
            prompt = vocabulary.decode(np.asarray(ids[start : start + length]))
        return params, self._generator.context(params, vocabulary.encode(prompt)), prompt

    # ---- saving and summing up -------------------------------------------------------------------

    def _save(self) -> None:
        if not self.folder.holds_run():
            self.display.notice(
                f"warning: {self.folder.path} has vanished, with what was in it; making it anew"
            )
            with contextlib.suppress(JaxcharError):  # the save will say what is wrong
                self.folder.create(self.config)
        self.store.save(self.state, self._metadata())
        self._saved_at = self.step

    def _save_the_end(self) -> None:
        """See to it that the last step is saved, or say that it is not."""
        if self._saved_at != self.step:
            self._save()
        self.store.wait()
        if self.store.problem is not None:  # there may be room again
            self._tell_problems()
            self._save()
            self.store.wait()
        self._tell_problems()
        if self.store.problem is not None:
            newest = self.store.newest_step
            kept = "older ones are as they were" if newest is None else f"the newest is of step {newest:,}"
            raise JaxcharError(f"{self.store.problem}; {kept}; make room or mend the folder, and --resume")

    def _tell_problems(self) -> None:
        """Say once what can not be written, and once when it can again."""
        problems = (self.store.problem, self.folder.problem)
        for problem in set(problems) - {None, *self._problems}:
            self.display.notice(f"warning: {problem}; training goes on, and tries again")
        if any(self._problems) and not any(problems):
            self.display.notice("Saving works again.")
        self._problems = problems

    def _metadata(self) -> Metadata:
        metrics = {"seconds": round(self.seconds, 3)}
        if self.last.get("step") == self.step:
            metrics |= self.last
        return Metadata(
            step=self.step,
            epoch=self.step // self.program.batches.steps_per_epoch,
            steps_per_epoch=self.program.batches.steps_per_epoch,
            config=self.config,
            vocabulary=self.dataset.vocabulary,
            corpus=self.dataset.identity.to_json(),
            metrics=metrics,
            last=self.last,
            best=self.best,
            logs=self.folder.log_sizes(),
            versions=library_versions(),
            machine=describe_machine(self.program.mesh.size),
        )

    def _finish(self, stopped_by: int | None) -> RunResult:
        train = Means.of(self.state.epoch_totals)
        rate = self.step / max(self.seconds, 1e-9)
        summary = {
            "steps": self.step,
            "epochs": self.step / self.program.batches.steps_per_epoch,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(rate, 3),
            "chars_per_second": round(rate * self.config.batch_size * self.config.seq_len, 1),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self.state.params)),
            "train_loss": train.loss,
            "train_accuracy": train.accuracy,
            "val_loss": self.last.get("val_loss"),
            "val_accuracy": self.last.get("val_accuracy"),
            "val_bits_per_char": (self.last and bits_per_char(self.last["val_loss"])) or None,
            "best_step": self.best.get("step"),
            "best_val_loss": self.best.get("val_loss"),
            "skipped_steps": int(self.state.skipped),
        }
        self.folder.write_json(SUMMARY, summary)
        metrics = self.folder.metrics()
        if metrics:
            plot_loss(metrics, self.folder.path.name, self.folder.path / PICTURE)
        return RunResult(self.folder.path, summary, stopped_by)


@contextlib.contextmanager
def _stop_requests(leave: Callable[[], None]) -> Iterator[Callable[[], int]]:
    """Take note of Ctrl-C and SIGTERM instead of dying of them; a second one leaves at once.

    Python runs its handlers only between two bytecodes, so not while XLA compiles or computes. A thread
    that reads the numbers of the signals as they come is not bound to that: it sees to the second one.

    Args:
        leave: called before leaving at once.

    Yields a function that returns the number of the first signal received, or 0. Outside the main thread,
    where Python lets nobody handle signals, it is always 0.
    """
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        received.append(number)

    def watch(numbers: int) -> None:
        first_came = False
        while number := os.read(numbers, 1):
            if number[0] in STOP_SIGNALS and first_came:
                leave()
                os._exit(128 + number[0])
            first_came |= number[0] in STOP_SIGNALS

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    numbers, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    before_wakeup = signal.set_wakeup_fd(wakeup)
    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    watcher = threading.Thread(target=watch, args=(numbers,), daemon=True)
    watcher.start()
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_wakeup)
        os.close(wakeup)  # the thread reads the end, and ends
        watcher.join()
        os.close(numbers)

"""The loop: steps, evaluation, samples, checkpoints, progress.

Nothing here changes what is learned: a run is cut into calls of ``train_steps`` at the steps where
something is to be done, and where the cuts lie changes no bit of the result.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.config import Config
from jaxchar.data.batches import Streams
from jaxchar.data.dataset import Dataset
from jaxchar.errors import JaxcharError
from jaxchar.model.loss import Means, bits_per_char
from jaxchar.model.optimizer import make_schedule
from jaxchar.parallel.devices import on_one_device, replicate
from jaxchar.parallel.processes import agree
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.forecast import Forecast, times_left
from jaxchar.progress.guard import GuardedDisplay, reason_of
from jaxchar.randomness import SAMPLE_KEY, purpose_key
from jaxchar.sampling.decoder import Context, StreamContext
from jaxchar.sampling.generate import Generator
from jaxchar.scoring.protocols import evaluation_batches
from jaxchar.scoring.reference_losses import reference_losses
from jaxchar.training.plot import plot_loss
from jaxchar.training.run_folder import PICTURE, SUMMARY, RunFolder, Series
from jaxchar.training.signals import name_of, stop_requests
from jaxchar.training.step import (
    Program,
    TrainState,
    evaluation_params,
    last_character,
    make_evaluation,
    total_steps,
)

# A validation loss so many times the best one, and so far above the training loss (nats), tells that the
# training text is being learned by heart. Less than that comes and goes with the learning rate.
BY_HEART_WORSE, BY_HEART_GAP = 1.03, 0.3
CHUNK_SECONDS = 0.25  # how long one call of train_steps should last: progress, Ctrl-C


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
        display: TrainingDisplay | GuardedDisplay,
    ) -> None:
        """Take everything that a run is made of; see :func:`jaxchar.fit` for the usual way in."""
        self.config = config
        self.dataset = dataset
        self.program = program
        self.state = replicate(state, program.mesh)
        self.folder = folder
        self.store = store
        self.display = GuardedDisplay.of(display)
        self.step = int(state.step)
        self.last: dict[str, float] = {}  # evaluation: step, val_loss, val_accuracy
        self.best: dict[str, float] = {}  # evaluation: step, val_loss, evaluations_since
        self._forecast = Forecast()
        self.seconds = 0.0  # of training: no compilation, evaluation, sampling or saving
        self.is_finished = False  # whether nothing is left to train
        self.deadline: float | None = None  # by time.monotonic(); training stops then, wherever it is
        self._saved_at: int | None = None
        self._problems: tuple[str | None, ...] = (None, None)  # of writing, that the user has been told
        self._skipped = int(state.skipped)
        self._out_of_time = 0
        self._told_by_heart = False
        # Asked now: what is installed may be another version by the next save, or gone.
        self._versions, self._machine = library_versions(), describe_machine(program.mesh.size)
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
        # A run that was stopped early goes on where more steps are asked for than before.
        before = total_steps(metadata.config, self.program.batches.steps_per_epoch)
        self.is_finished = self._is_at_the_end() or (self._gave_up() and self.program.total_steps <= before)

    def run(self) -> RunResult:
        """Train to the end, or until a signal asks to stop; then save, and sum up."""
        leave = self.display.leave if self.display.owns_process else None
        with stop_requests(self._announce_stop, leave) as requested:
            with self.display.live(self.program.total_steps):
                stopped_by = self._train(requested)
                self._save_the_end()
            self.is_finished = not stopped_by and not self._out_of_time
            return self.sum_up(stopped_by or None)

    def _train(self, requested: Callable[[], int]) -> int:
        """Train to the end, or until a signal asks to stop; return the number of that signal, or 0."""
        train_steps = self._compiled()
        chunk, stopped_by, self._out_of_time = agree(1, requested(), 0)
        while not self._is_at_the_end():
            if stopped_by:
                return stopped_by
            chunk = self._train_chunk(train_steps, chunk)
            self._do_what_is_due()
            if self._is_due(self.config.checkpoint_every) or self._is_best():
                self._save()
            self._tell_problems()
            if self._gave_up() or self._out_of_time:
                break
            chunk, stopped_by, self._out_of_time = agree(chunk, requested(), self._is_late())
        if self._out_of_time:
            self.display.notice(
                f"The time is up at step {self.step:,} of {self.program.total_steps:,}: this machine is "
                "slower now than it was when it was measured. The best model so far is kept."
            )
        return 0

    def _is_late(self) -> int:
        return int(self.deadline is not None and time.monotonic() > self.deadline)

    def _announce_stop(self, number: int) -> None:
        doing = "finishing" if self.is_finished else "saving"
        self.display.notice(f"{name_of(number)}: {doing} ... (Ctrl-C again leaves at once, without saving)")

    # ---- one round of the loop -------------------------------------------------------------------

    def _compiled(self) -> jax.stages.Compiled:
        with self._phase("compiling"):
            lowered = self.program.train_steps.lower(self.state, self._text, np.int32(0))
            return lowered.compile()

    @contextlib.contextmanager
    def _phase(self, work: str) -> Iterator[None]:
        """Show some work that is not training, and take down how long it takes."""
        with self.display.phase(f"{work} ..."), self._forecast.measured(work):
            yield

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
            with self._phase("sampling"):
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
        """Return the epoch that the last step was of, and that step."""
        epoch = max(1, -(-self.step // self.program.batches.steps_per_epoch))
        return f"epoch {epoch}  step {self.step:,}"

    def _show_progress(self, recent: Means) -> None:
        total_steps = self.program.total_steps
        left = (total_steps - self.step) / max(self._steps_per_second, 1e-9)
        for work, every in (
            ("evaluating", self.config.eval_every),
            ("sampling", self.config.sample_every),
            ("saving", self.config.checkpoint_every),
        ):
            times = times_left(self.step, total_steps, self._period(every))
            left += self._forecast.seconds(work, times)
        rates = (self._steps_per_second, self._chars_per_second)
        position = f"{self._position()}/{self.program.total_steps:,}"
        self.display.progress(self.step, position, recent.loss, recent.accuracy, rates, left)

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
            with self._phase("evaluating"):
                val = self._evaluate(evaluation_params(self.state))
            self.last = {"step": self.step, "val_loss": val.loss, "val_accuracy": val.accuracy}
            is_best = val.loss < self.best.get("val_loss", float("inf"))
            if is_best:
                self.best = {"step": self.step, "val_loss": val.loss, "evaluations_since": 0}
            else:
                self.best["evaluations_since"] = self.best.get("evaluations_since", 0) + 1
            bits = bits_per_char(val.loss)
            self._log(val_loss=val.loss, val_accuracy=val.accuracy, val_bits_per_char=bits)
        self.display.evaluation(self._position(), train, val, is_best)
        if val is not None and not self._told_by_heart and self._knows_by_heart(train, val):
            self._told_by_heart = True
            self.display.notice(self._by_heart())

    def _knows_by_heart(self, train: Means, val: Means) -> bool:
        """Whether what is learned no longer helps with any other text."""
        best = self.best.get("val_loss", float("inf"))
        return val.loss > BY_HEART_WORSE * best and train.loss < val.loss - BY_HEART_GAP

    def _by_heart(self) -> str:
        per_epoch = self.program.batches.steps_per_epoch
        now, best = self.step / per_epoch, self.best["step"] / per_epoch
        kept = "is kept, and is the one that writes" if self.config.keep_checkpoints else "is kept"
        return (
            f"The training text is being learned by heart: at pass {now:.1f} the validation loss is worse "
            f"than at pass {best:.1f}. The best model, of pass {best:.1f}, {kept}. More text, more dropout "
            "or a smaller model would help; more time does not."
        )

    def _is_at_the_end(self) -> bool:
        return self.step >= self.program.total_steps

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
        with contextlib.suppress(JaxcharError, OSError):  # the save will say what is wrong
            if not self.folder.holds_run():
                self.display.notice(
                    f"warning: {self.folder.path} has vanished, with what was in it; making it anew"
                )
                self.folder.create(self.config)
        try:
            with self._phase("saving"):
                self.store.save(self.state, self._metadata())
        except OSError as error:  # of the logs, whose sizes are noted in it
            self.store.wait()
            self.store.problem = (
                f"the checkpoint of step {self.step:,} could not be saved: {reason_of(error)}"
            )
        self._saved_at = self.step

    def _save_the_end(self) -> None:
        """See to it that the last step is saved, or say that it is not."""
        self.folder.write_what_is_left()
        with self.display.phase("saving ..."):
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
            versions=self._versions,
            machine=self._machine,
        )

    def sum_up(self, stopped_by: int | None = None) -> RunResult:
        """Write the summary and the picture, unless they are there; either may fail, which is told."""
        summary = self._summary()
        is_written = self.folder.summary() == summary
        if not is_written:
            with self._failing_alone(SUMMARY):
                self.folder.write_json(SUMMARY, summary)
        with self._failing_alone(PICTURE):
            if self._steps_timed or not is_written or not self.folder.has(PICTURE):
                self._draw(summary["reference_bits_per_char"] or {})
        return RunResult(self.folder.path, summary, stopped_by)

    def _draw(self, reference_bits: dict[str, float]) -> None:
        metrics = self.folder.metrics()
        names = {"bzip2": "bzip2", "frequencies": "letter frequencies"}
        references = {
            names[name]: bits * math.log(2) for name, bits in reference_bits.items() if name in names
        }
        if metrics:
            with self.display.phase("drawing the picture ..."):
                plot_loss(metrics, self.folder.path.name, self.folder.path / PICTURE, references)

    @contextlib.contextmanager
    def _failing_alone(self, name: str) -> Iterator[None]:
        """Turn whatever goes wrong with a file that tells of the run into one line of warning."""
        try:
            yield
        except Exception as error:  # of libraries, their settings and the file system
            self.display.notice(
                f"warning: {name} could not be written: {reason_of(error)}; the checkpoint is whole, and "
                "resuming the run tries again"
            )

    def _summary(self) -> dict[str, Any]:
        train = Means.of(self.state.epoch_totals)
        seconds = round(self.seconds, 3)  # as in a checkpoint, so that a resumed run sums up the same
        rate = self.step / max(seconds, 1e-9)
        return {
            "steps": self.step,
            "epochs": self.step / self.program.batches.steps_per_epoch,
            "seconds": seconds,
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
            "reference_bits_per_char": self._reference_losses(),
        }

    def _reference_losses(self) -> dict[str, float] | None:
        """Return what others make of the validation text."""
        training, held_out = (np.asarray(self.dataset.splits[name]) for name in ("train", "validation"))
        if not len(held_out):
            return None
        return reference_losses(training, held_out, self.dataset.vocabulary.symbols).to_json()

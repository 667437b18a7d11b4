"""What a training run shows: what it is doing, how far it is, what it has learned to write."""

import contextlib
import math
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console

from jaxchar.progress.notebook import NotebookView, in_notebook
from jaxchar.progress.status import InLines, Phase, Progress, Sample, Status, clock
from jaxchar.progress.views import LinesTo, PlainView, TerminalView, Ticker, View
from jaxchar.terminal.invocation import called_as
from jaxchar.terminal.screen import drawn, is_terminal, make_console, make_table

if TYPE_CHECKING:  # loss imports JAX, which the first words need not wait for
    from jaxchar.model.loss import Means


class TrainingDisplay:
    """Tells of a run: in a line that changes on a terminal, in one output of a notebook, in lines elsewhere.

    Everything is written by one of the views; see :mod:`jaxchar.progress.views`.
    """

    def __init__(self, console: Console | None = None, *, verbose: bool = False) -> None:
        """Write to a console of rich's; None takes standard output.

        Args:
            console: where to write.
            verbose: whether to show the model's layers.
        """
        self.console = console or make_console()
        self.verbose = verbose
        self._view = _view_for(self.console, may_be_notebook=console is None)
        self._status = Status()
        self._total_steps = 0
        self._lock = threading.RLock()  # two threads show: the one that trains, and the ticker's
        self._ticker: Ticker | None = None

    def use_plain_lines(self) -> None:
        """Show lines only, none of which changes, whatever the output could do."""
        self._view = PlainView(self.console)

    # ---- what happens ----------------------------------------------------------------------------

    def notice(self, line: str) -> None:
        """Say one thing that the user should know."""
        with self._lock:
            self._view.notice(line)
            if self._ticker is None:  # nobody will look again
                self._view.rest()

    @contextlib.contextmanager
    def phase(self, text: str, *, in_lines: InLines = "if long") -> Iterator[None]:
        """Show what is being done while it lasts: ``loading the text ...``.

        Args:
            text: what is being done.
            in_lines: whether it gets a line where nothing can be taken back.
        """
        phase = Phase(text, time.monotonic(), in_lines)
        with self._watched():
            self._status.phases.append(phase)
            self._look()
            try:
                yield
            finally:
                self._status.phases.remove(phase)

    @contextlib.contextmanager
    def live(self, total_steps: int) -> Iterator[None]:
        """Keep in sight where training stands while it lasts."""
        self._total_steps = total_steps
        with self._watched():
            yield

    def ends_at(self, total_steps: int) -> None:
        """Show from here on how far training is from another last step."""
        self._total_steps = total_steps

    def leave(self) -> None:
        """Leave the terminal as it was found, for a process that is about to end at once."""
        if self._lock.acquire(timeout=0.5):  # the thread that holds it may never go on
            try:
                self._view.rest()
            finally:
                self._lock.release()

    def summary(self, title: str, rows: Sequence[tuple[str, str, int]], facts: Sequence[str]) -> None:
        """Show what is trained on what: the model's size, or its layers, and facts about the text."""
        total = sum(row[2] for row in rows)
        if self.verbose:
            self._show_layers(title, rows, total)
        else:
            self.notice(f"{title}: {total:,} parameters")
        for fact in facts:
            self.notice(fact)

    def _show_layers(self, title: str, rows: Sequence[tuple[str, str, int]], total: int) -> None:
        table = make_table(self.console, "Layer", "Output shape", title=title, title_justify="left")
        table.add_column("Parameters", justify="right", overflow="fold")
        for name, shape, parameters in rows:
            table.add_row(name, shape, f"{parameters:,}")
        table.add_section()
        table.add_row("Total", "", f"{total:,}")
        self.notice(drawn(table, self.console))

    def progress(
        self, step: int, position: str, loss: float, accuracy: float, rates: tuple[float, float], left: float
    ) -> None:
        """Show where training stands.

        Args:
            step: steps done.
            position: epoch and step, in words.
            loss: nats per character, of the last steps.
            accuracy: of the last steps.
            rates: steps/s and characters/s.
            left: seconds to the end of the whole command.
        """
        total = max(step, self._total_steps)
        now = time.monotonic()
        self._status.progress = Progress(step, total, position, loss, accuracy, rates, left, now)
        self._status.curve.add(step, loss)
        self._look()

    def evaluation(self, position: str, train: "Means", val: "Means | None", is_best: bool) -> None:
        """Show training and validation figures side by side, with the accuracies where they fit."""
        short = f"{position}  train {train.loss:.4f}"
        long = f"{position}  train: loss {train.loss:.4f}, accuracy {train.accuracy:.4f}"
        if val is not None:
            short += f"  validation {val.loss:.4f}{' (best)' if is_best else ''}"
            long += f"  validation: loss {val.loss:.4f}, accuracy {val.accuracy:.4f}"
            long += " (best so far)" if is_best else ""
            step = self._status.progress.step if self._status.progress else 0
            self._status.validation.append((step, val.loss))
        self.notice(long if cell_len(long) <= self._view.columns else short)

    def sample(self, title: str, prompt: str, text: str) -> None:
        """Show a piece of text that the model wrote, what it went on from in another shade."""
        sample = Sample(title, prompt, text)
        validation = self._status.validation
        heading = f"{title}, validation {validation[-1][1]:.4f}" if validation else title
        with self._lock:
            self._view.sample(sample, heading)

    def finished(
        self, run_dir: Path, summary: dict[str, Any], with_memory: Mapping[str, float] | None = None
    ) -> None:
        """Say what the run came to, what that is worth, where it lies, and how to go on.

        Args:
            run_dir: the run's folder.
            summary: as in summary.json.
            with_memory: the best validation loss with counts beside the network, by the way of counting.
        """
        self.notice(
            f"Done: {summary['steps']:,} steps in {clock(summary['seconds'])} of training "
            f"({summary['steps_per_second']:,.1f} steps/s, {summary['chars_per_second']:,.0f} chars/s; "
            "compiling, evaluating, sampling and saving not counted)"
        )
        if summary["best_val_loss"] is not None:
            self.notice(
                f"Best validation loss {summary['best_val_loss']:.4f} nats per character, at step "
                f"{summary['best_step']:,}"
            )
            self.notice(worth(summary["best_val_loss"] / math.log(2), summary["reference_bits_per_char"]))
        if with_memory:
            self.notice(memory_in_words(summary["best_val_loss"], with_memory))
        folder = shlex.quote(str(run_dir))
        self.notice(f"The run is in {run_dir}; write with: {called_as('sample')} --ckpt {folder}")

    # ---- showing it ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Look again several times a second until the outermost such block is left; then rest."""
        if self._ticker is not None:
            yield
            return
        self._ticker = Ticker(self._look)
        self._ticker.start()
        try:
            with self._errors_above():
                yield
        finally:
            self._ticker.stop()
            self._ticker = None
            with self._lock:
                self._view.rest()

    @contextlib.contextmanager
    def _errors_above(self) -> Iterator[None]:
        """Let what anybody writes to standard error stand above the line that changes, not in it."""
        if not (isinstance(self._view, TerminalView) and is_terminal(sys.stderr)):
            yield
            return
        with LinesTo(self.notice, sys.stderr) as lines, contextlib.redirect_stderr(lines):
            yield

    def _look(self) -> None:
        with self._lock:
            self._view.look(self._status)


def worth(bits: float, reference: dict[str, float]) -> str:
    """Return what a loss is worth, beside what others make of the same text.

    Args:
        bits: per character, of the model.
        reference: of the others, see :mod:`jaxchar.scoring.reference_losses`.
    """
    if bits < reference["bzip2"]:
        verdict = "better than the compressor, which is good"
    elif bits < 0.7 * reference["frequencies"]:
        verdict = "it knows letters and many words, but a compressor knows more"
    elif bits < reference["frequencies"]:
        verdict = "it knows which letters follow each other, and little more"
    else:
        verdict = "it has learned next to nothing"
    return (
        f"That is {bits:.2f} bits per character of text that it has never seen: {verdict} (bzip2 "
        f"{reference['bzip2']:.2f}, letter frequencies {reference['frequencies']:.2f}, a blind guess "
        f"{reference['uniform']:.2f}; less is better)"
    )


def memory_in_words(alone: float, with_memory: Mapping[str, float]) -> str:
    """Return what its memory makes of a model's loss, nats.

    Args:
        alone: the loss of the network alone.
        with_memory: with counts of the training text ("static"), and with counts that grow ("growing").
    """
    static, growing = with_memory["static"], with_memory["growing"]
    if static > alone:
        return (
            f"Its memory of the training text is of no use here: with it the loss is {static:.4f}; write "
            "with --memory 0"
        )
    return (
        f"With its memory of the training text the loss is {static:.4f}, and {growing:.4f} if it also "
        "remembers what it reads"
    )


def _view_for(console: Console, *, may_be_notebook: bool) -> View:
    """Return the view that suits an output."""
    if may_be_notebook and in_notebook():
        return NotebookView()
    if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
        return TerminalView(console)
    return PlainView(console)

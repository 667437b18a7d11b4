"""What a person sees: progress, tables, samples, one-line errors. Only doors and trainer know it."""

import contextlib
import io
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from jaxchar.errors import JaxcharError

if TYPE_CHECKING:  # loss imports JAX, which an error message or --help need not wait for
    from jaxchar.loss import Means

PLAIN_LINE_SECONDS = 10  # between progress lines where the output is no terminal


# ---- errors and arguments ------------------------------------------------------------------------


def fail(message: str) -> NoReturn:
    """Print one line on standard error and leave with exit code 2."""
    print("error: " + visible(" ".join(message.split())), file=sys.stderr)
    raise SystemExit(2)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error that the user caused into one line and exit code 2; Ctrl-C into exit code 130."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character shows a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        yield
    except JaxcharError as error:
        fail(str(error))
    except BrokenPipeError:  # the reader of our output has left: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or 'a file'}; see that it can be read and written")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        fail("the machine has not enough memory for these settings; lower --batch-size, --seq-len or sizes")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def parse(
    kind: Callable[..., Any], *, door: str, arguments: Sequence[str] | None = None, **options: Any
) -> Any:
    """Parse the command line with tyro, its framed errors turned into one line each.

    Args:
        kind: the dataclass to fill.
        door: the module's name, as a user types it after ``python -m``.
        arguments: the command line; None takes the process's own.
        options: further ones of ``tyro.cli``.
    """
    import tyro

    def attempt() -> Any:
        return tyro.cli(kind, args=arguments, prog=f"python -m {door}", **options)

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return attempt()
    except SystemExit as leaving:
        if leaving.code in (0, None):
            raise
    framed = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(framed), _unbounded_width():
        attempt()
    fail(_unframed(framed.getvalue()))


@contextlib.contextmanager
def _unbounded_width() -> Iterator[None]:
    """Let tyro draw its frame so wide that nothing in it is broken into lines."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)


def _unframed(box: str) -> str:
    """Return the text inside a drawn frame as one line, less title and closing advice."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in box.splitlines()]
    text = " ".join(line.strip("│╭╮╰╯─ ") for line in lines if not line.lstrip().startswith("╭"))
    text = re.split(r"Argument helptext:|For full helptext", text)[0]
    text = re.sub(r"^\s*Error parsing (?:[a-z]+: )?", "", text)
    text = re.sub(r"invalid literal for int\(\) with base 10: ", "expected a whole number, but it is ", text)
    text = re.sub(r"could not convert string to float: ", "expected a number, but it is ", text)
    text = text.split("Got errors")[0].replace("[bold]", "").replace("[/bold]", "")
    return f"{' '.join(text.split())}; see --help"


# ---- text ----------------------------------------------------------------------------------------


def visible(text: str) -> str:
    """Return text that is safe on a terminal: control characters as the symbols that stand for them."""
    return "".join(_symbol(character) for character in text)


def _symbol(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or not (code < 32 or 127 <= code < 160):
        return character
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


# ---- evaluation ----------------------------------------------------------------------------------


EVALUATION_ROWS = {
    "loss": "Loss (nats/char)",
    "bits_per_char": "Bits/char",
    "perplexity": "Perplexity",
    "accuracy": "Accuracy",
    "top5_accuracy": "Top-5 accuracy",
}


def evaluation_table(result: dict[str, Any]) -> None:
    """Show the figures of every split that ``jaxchar.evaluate`` scored, with their intervals."""
    console = Console(highlight=False)
    title = f"{result['checkpoint']}: {result['corpus']}, {result['protocol']}"
    console.print(title, markup=False, soft_wrap=True)
    table = Table("")
    for split in result["splits"]:
        table.add_column(split, justify="right")
    figures = result["splits"].values()
    table.add_row("Characters predicted", *(f"{of_split['predictions']:,}" for of_split in figures))
    for name, label in EVALUATION_ROWS.items():
        table.add_row(label, *(_with_interval(of_split, name) for of_split in figures))
    console.print(table)
    console.print(f"± {_interval_in_words(result['splits'])}", markup=False)
    for of_split in figures:
        for file in of_split.get("files", ()):
            console.print(f"Wrote {file}", markup=False, soft_wrap=True)


def _with_interval(figures: dict[str, Any], name: str) -> str:
    if figures["interval"] is None:
        return f"{figures[name]:.4f}"
    low, high = figures["interval"][name]
    return f"{figures[name]:.4f} ± {(high - low) / 2:.4f}"


def _interval_in_words(splits: dict[str, Any]) -> str:
    blocks = [
        f"{name}: {about['blocks']} blocks of {about['block_chars']:,}"
        for name, about in ((name, figures["interval"]) for name, figures in splits.items())
        if about
    ]
    if not blocks:
        return "needs more text"
    return (
        "is half the 95% confidence interval for text like this, from the means of blocks of consecutive "
        f"characters ({', '.join(blocks)}); for this text itself the figures are exact"
    )


# ---- memorisation --------------------------------------------------------------------------------

PASSAGE_SHOWN = 400  # characters of the longest copied passage


def memorization_table(result: dict[str, Any]) -> None:
    """Show what ``jaxchar.memorization`` found: shares by length, and the longest copied passages."""
    console = Console(highlight=False)
    text, held_out = result["text"], result["held_out"]
    console.print(
        f"{result['checkpoint']}: how much stands verbatim in the {result['training_chars']:,} characters "
        f"that it was trained on ({result['corpus']})",
        markup=False,
        soft_wrap=True,
    )
    columns = {Path(text["source"]).name: text} | ({"held-out text": held_out} if held_out else {})
    table = Table("Passages of")
    for heading, column in columns.items():
        table.add_column(f"{escape(visible(heading))}\n{column['characters']:,} characters", justify="right")
    for n in text["copied_share"]:
        shares = (column["copied_share"][n] for column in columns.values())
        table.add_row(f"{n} characters", *("" if share is None else f"{share:.2%}" for share in shares))
    lengths = (f"{column['longest']['length']:,} characters" for column in columns.values())
    table.add_section()
    table.add_row("the longest", *lengths)
    console.print(table)
    _show_longest(console, text["longest"])


def _show_longest(console: Console, longest: dict[str, Any]) -> None:
    passage = longest["passage"]
    more = f" (its first {PASSAGE_SHOWN})" if len(passage) > PASSAGE_SHOWN else ""
    console.print(
        f"The longest copied passage, {longest['length']:,} characters{more}: at "
        f"{longest['text_position']:,} in the text, at {longest['corpus_position']:,} in the corpus",
        soft_wrap=True,
    )
    console.print(visible(passage[:PASSAGE_SHOWN]), markup=False, soft_wrap=True, style="dim")


# ---- inspection ----------------------------------------------------------------------------------


def inspection(result: dict[str, Any]) -> None:
    """Show what ``jaxchar.inspect`` found: every checkpoint's soundness, one checkpoint's contents."""
    console = Console(highlight=False)

    def say(line: str, style: str = "") -> None:
        # A checkpoint may come from anywhere, with anything in its names.
        console.print(visible(line), style=style, markup=False, soft_wrap=True)

    shown = result["shown"]
    if shown is not None:
        _show_contents(console, say, shown)
        say("")
    for found in result["checkpoints"]:
        say(f"{found['path']}: {_soundness(found)}", "" if not found["damage"] else "bold red")


def _show_contents(console: Console, say: Callable[..., None], shown: dict[str, Any]) -> None:
    say(shown["path"], "bold")
    say(f"step {shown['step']:,}, epoch {shown['epoch']} (of {shown['steps_per_epoch']:,} steps each)")
    for heading in ("metrics", "last", "best"):
        say(f"{heading}: {_pairs(shown[heading]) or 'none'}")
    corpus = shown["corpus"]
    source = " ".join(corpus["source"])
    say(f"corpus: {source}, {corpus['characters']:,} characters, SHA-256 {corpus['sha256']}")
    symbols = "".join(shown["vocabulary"])
    say(f"vocabulary, {len(symbols)} symbols: {_symbols(symbols)}")
    for heading, record in (("versions", shown["versions"]), ("machine", shown["machine"])):
        say(f"{heading}: {_pairs(record)}")
    _show_settings(say, shown)
    _show_parameters(console, shown)
    for heading in ("optimizer_state", "weight_average", "carry"):
        size = shown[heading]
        said = (
            f"{size['arrays']} arrays, {size['numbers']:,} numbers, {_size(size['bytes'])}"
            if size
            else "none"
        )
        say(f"{heading.replace('_', ' ')}: {said}")


def _show_settings(say: Callable[..., None], shown: dict[str, Any]) -> None:
    """Show the settings by group: each that was changed on a line of its own, the others together."""
    settings, defaults = shown["config"], shown["changed"]
    for group, names in shown["groups"].items():
        say(f"{group} settings", "bold")
        for name in names:
            if name in defaults:
                say(f"  {name} = {settings[name]!r}  (default {defaults[name]!r})", "bold cyan")
        by_default = ", ".join(f"{name} {settings[name]!r}" for name in names if name not in defaults)
        say(f"  by default: {by_default or 'nothing'}", "dim")


def _show_parameters(console: Console, shown: dict[str, Any]) -> None:
    table = Table("Parameters", "Shape")
    table.add_column("Count", justify="right")
    for array in shown["parameters"]:
        table.add_row(array["name"], f"{array['dtype']} {array['shape']}", f"{math.prod(array['shape']):,}")
    table.add_section()
    for layer in shown["layers"]:
        table.add_row(layer["name"], layer["output_shape"], f"{layer['parameters']:,}")
    table.add_section()
    table.add_row("total", "", f"{sum(layer['parameters'] for layer in shown['layers']):,}")
    console.print(table, markup=False)


def _soundness(found: dict[str, Any]) -> str:
    held = f"{found['arrays']} arrays, {_size(found['bytes'])}"
    if not found["damage"]:
        return f"whole: {held}, all SHA-256 match, of the metadata too"
    damage = "; ".join(found["damage"])
    return f"DAMAGED, of {held}: {damage}" if found["metadata"] else f"DAMAGED: {damage}"


def _pairs(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _symbols(symbols: str) -> str:
    """Return a vocabulary with white space as symbols, too."""
    pictures = {" ": "\u2420", "\n": "\u240a", "\t": "\u2409"}
    return "".join(pictures.get(symbol, visible(symbol)) for symbol in symbols)


def _size(num_bytes: int) -> str:
    """Return a number of bytes in the unit that leaves few digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"


# ---- training ------------------------------------------------------------------------------------


class TrainingDisplay:
    """What a training run shows: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to a console of rich's; None takes standard output."""
        self.console = console or Console(highlight=False)
        self._progress: Progress | None = None
        self._last_plain_line = time.monotonic()

    def notice(self, line: str) -> None:
        """Say one thing that the user should know."""
        self.console.print(visible(line), markup=False, soft_wrap=True)

    def leave(self) -> None:
        """Leave the terminal as it was found, for a process that is about to end at once."""
        self.console.show_cursor(True)

    def summary(self, title: str, rows: Sequence[tuple[str, str, int]], facts: Sequence[str]) -> None:
        """Show the model's layers with their parameter counts, as Keras's users know it."""
        table = Table(title=title, title_justify="left")
        for heading, justify in (("Layer", "left"), ("Output shape", "left"), ("Parameters", "right")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for name, shape, parameters in rows:
            table.add_row(name, shape, f"{parameters:,}")
        table.add_section()
        table.add_row("Total", "", f"{sum(row[2] for row in rows):,}")
        self.console.print(table)
        for fact in facts:
            self.notice(fact)

    @contextlib.contextmanager
    def live(self, total_steps: int) -> Iterator[None]:
        """Keep one line up to date below everything else while training lasts."""
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20))
        with Progress(*columns, console=self.console, transient=True) as self._progress:
            self._progress.add_task("compiling ...", total=total_steps)
            yield
        self._progress = None

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
            left: seconds to the end.
        """
        steps_per_second, chars_per_second = rates
        line = (
            f"{position}  loss {loss:.4f}  accuracy {accuracy:.4f}  {steps_per_second:,.1f} steps/s  "
            f"{chars_per_second:,.0f} chars/s  {_clock(left)} left"
        )
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=step, description=line)
        elif time.monotonic() - self._last_plain_line >= PLAIN_LINE_SECONDS:
            self._last_plain_line = time.monotonic()
            self.notice(line)

    def evaluation(self, position: str, train: "Means", val: "Means | None", is_best: bool) -> None:
        """Show training and validation figures side by side."""
        line = f"{position}  train: loss {train.loss:.4f}, accuracy {train.accuracy:.4f}"
        if val is not None:
            best = " (best so far)" if is_best else ""
            line += f"  validation: loss {val.loss:.4f}, accuracy {val.accuracy:.4f}{best}"
        self.notice(line)

    def sample(self, title: str, prompt: str, text: str) -> None:
        """Show a piece of text that the model wrote, what it went on from in another shade."""
        self.console.print(f"--- {title}", style="dim", markup=False)
        self.console.print(visible(prompt), style="dim", end="", markup=False, soft_wrap=True)
        self.console.print(visible(text), markup=False, soft_wrap=True)

    def finished(self, run_dir: Path, summary: dict[str, Any]) -> None:
        """Say where the run lies and what it came to."""
        figures = (
            f"{summary['steps']:,} steps in {_clock(summary['seconds'])} of training "
            f"({summary['steps_per_second']:,.1f} steps/s, {summary['chars_per_second']:,.0f} chars/s; "
            "compiling, evaluating, sampling and saving not counted)"
        )
        self.notice(figures)
        if summary["best_val_loss"] is not None:
            self.notice(
                f"Best validation loss {summary['best_val_loss']:.4f} nats per character, at step "
                f"{summary['best_step']:,}"
            )
        self.notice(f"The run is in {run_dir}; write with: python -m jaxchar.sample --ckpt {run_dir}")

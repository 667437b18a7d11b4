"""Write text with a trained model: ``python -m jaxchar.sample --ckpt runs/mine --prompt "ROMEO:"``."""

import codecs
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import note, one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.config import SampleConfig
from jaxchar.data.documents import require_documents
from jaxchar.errors import JaxcharError, quoted_path, reason_of
from jaxchar.terminal.sample_display import Display, Pace

if TYPE_CHECKING:
    from jaxchar.checkpoint.find import Loaded
    from jaxchar.sampling.session import Writer


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write text with a trained model."""

    # A run's folder, its checkpoints folder, or one checkpoint's; none: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    # What the text goes on from; None: a line break, or a space. A line break in it: $'first\nsecond'.
    prompt: str | None = None
    prompt_file: str | None = None  # likewise, the whole of a UTF-8 file; -: standard input
    from_corpus: int | None = None  # likewise, seq_len characters of the checkpoint's text, at this position
    corpus: tuple[str, ...] | None = None  # where that text lies now, if it has moved; checked by its SHA-256
    unknown: Literal["error", "skip", "replace"] = "error"  # prompt characters that the model lacks
    length: int | None = None  # characters to write; None: 500, and of a document at most 10,000
    documents: int | None = None  # write so many whole texts, of a model trained on many with --separator
    # The text ends with the first of these that comes up in it. A line break is $'\n'.
    stop: tuple[str, ...] | None = None
    temperature: tuple[float, ...] = (1.0,)  # below 1 safer, above 1 wilder; several: a block for each
    greedy: bool = False  # always take the most probable character, as --temperature 0 does
    top_k: int = 0  # draw from the k most probable characters only; 0: from all
    top_p: float = 1.0  # draw from the fewest characters that have this share together; 1: from all
    min_p: float = 0.0  # draw from those with this share of the best one's probability; 0: from all
    num_samples: int = 1  # texts that go on from the prompt, drawn as one batch
    seed: int | None = None  # the same seed writes the same text; None takes the clock's
    show_alternatives: bool = False  # a line a character: its probability and the five runners-up
    json: bool = False  # print one JSON object a text
    raw: bool = False  # show a terminal control characters as they are, not as symbols
    interactive: bool = False  # a session: type prompts, change settings, pick characters, undo, save
    # Of the run's checkpoints; None: the best, where the run was validated, else the last.
    which: Literal["last", "best"] | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.prompt, self.prompt_file, self.from_corpus)) > 1:
            raise JaxcharError(
                "--prompt, --prompt-file and --from-corpus are one or the other; give only one"
            )
        if self.corpus is not None and self.from_corpus is None:
            raise JaxcharError(
                "--corpus is for a prompt from the training text; give --from-corpus POSITION, too"
            )
        if self.greedy and self.temperature != (1.0,):
            raise JaxcharError("--greedy is temperature 0; leave one of --greedy and --temperature out")
        if self.documents is not None:
            self._check_documents(self.documents)
        if not 1 <= self.num_samples <= 10_000:
            raise JaxcharError(
                f"--num-samples must be a number from 1 to 10,000, but it is {self.num_samples}"
            )

    def _check_documents(self, count: int) -> None:
        if not 1 <= count <= 1_000_000:
            raise JaxcharError(f"--documents must be a number from 1 to 1,000,000, but it is {count}")
        others = {
            "--prompt": self.prompt is not None,
            "--prompt-file": self.prompt_file is not None,
            "--from-corpus": self.from_corpus is not None,
            "--stop": self.stop is not None,
            "--num-samples": self.num_samples != 1,
            "--show-alternatives": self.show_alternatives,
            "--interactive": self.interactive,
            "several --temperature": len(self.temperature) > 1,
        }
        given = [option for option, is_given in others.items() if is_given]
        if given:
            raise JaxcharError(
                f"--documents writes texts from their beginning to their end; leave out {' and '.join(given)}"
            )

    def settings(self, seed: int) -> list[SampleConfig]:
        """Return what to write for each temperature, checked."""
        length = 500 if self.documents is None else 10_000
        return [
            SampleConfig(
                length=length if self.length is None else self.length,
                stop=self.stop,
                temperature=temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                min_p=self.min_p,
                seed=seed,
            )
            for temperature in ((0.0,) if self.greedy else self.temperature)
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Sample as the command line says: text on standard output, figures on standard error."""
    with one_line_errors():
        typed = parse_command(Arguments, "sample", arguments)
        settings = typed.settings(time.time_ns() % 2**32 if typed.seed is None else typed.seed)
        run = run_to_use(typed)
        from jaxchar.cache import keep_what_is_compiled
        from jaxchar.checkpoint.find import load_checkpoint
        from jaxchar.checkpoint.weights import weights_structure
        from jaxchar.language_model import from_checkpoint

        keep_what_is_compiled()
        loaded = load_checkpoint(run, weights_structure, typed.which)
        warn(loaded.warnings)
        writer = from_checkpoint(loaded).writer
        if typed.documents is not None:
            separator = require_documents(loaded.metadata.config.separator)
            say_model(typed, run, loaded)
            if not _write_documents(writer, separator, settings[0], typed):
                raise SystemExit(130)
            return
        settings = _with_fitted_stops(writer, settings)
        if typed.interactive:
            from jaxchar.terminal.interactive import converse

            say_model(typed, run, loaded)
            converse(writer, settings[0], Display(typed.raw), typed.unknown)
            return
        prompt = _fitted(writer, "prompt", _prompt(typed, loaded))
        prompt = writer.vocabulary.adapt(prompt, typed.unknown)
        if prompt and not writer.vocabulary.unknown(prompt):  # else an error follows, which stands alone
            say_model(typed, run, loaded)
        if not _write(writer, prompt, settings, typed):
            raise SystemExit(130)


def _with_fitted_stops(writer: "Writer", settings: Sequence[SampleConfig]) -> list[SampleConfig]:
    """Return settings with stops as the training text would have them; refuse those that cannot come up."""
    from jaxchar.sampling.prompt import refuse_impossible_stop

    stop = tuple(_fitted(writer, "stop", text) for text in settings[0].stop or ()) or None
    refuse_impossible_stop(stop, writer.vocabulary)
    return [replace(config, stop=stop) for config in settings]


def _fitted(writer: "Writer", what: str, text: str) -> str:
    """Return a typed text reduced as the training text was, and say so on standard error."""
    from jaxchar.sampling.prompt import escape_note, notes_of

    found = writer.fitted(_typed(text), what)
    note(notes_of(what, [found]))
    if not writer.vocabulary.unknown(found.text):
        note(filter(None, [escape_note(what, found.text)]))
    return found.text


def _typed(text: str) -> str:
    """Return a word of the command line as the UTF-8 that it is, where the locale knows only ASCII."""
    if not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except ValueError:
        return text


def _prompt(typed: Arguments, loaded: "Loaded") -> str:
    """Return what the text is to go on from."""
    if typed.from_corpus is not None:
        return _corpus_at(typed.from_corpus, typed.corpus, loaded)
    if typed.prompt_file is not None:
        return _file_content(typed.prompt_file)
    if typed.prompt is not None:
        return typed.prompt
    symbols = loaded.metadata.vocabulary.symbols
    return next((symbol for symbol in "\n " if symbol in symbols), symbols[0])


def _file_content(path: str) -> str:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        # A mark at the start tells UTF-16, which some editors write.
        with_mark = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if with_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise JaxcharError(
            f"cannot read the prompt file {quoted_path(path)}: byte 0x{error.object[error.start]:02x} at "
            f"position {error.start:,} is not {error.encoding.upper()}; convert it to UTF-8 first, for "
            "instance with `iconv -f CP1252 -t UTF-8`"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise JaxcharError(
            f"cannot read the prompt file {quoted_path(path)}: {reason_of(error)}; give a UTF-8 text file"
        ) from error


def _corpus_at(position: int, corpus: tuple[str, ...] | None, loaded: "Loaded") -> str:
    """Return seq_len characters of the text that the checkpoint was trained on, wherever it lies now."""
    import numpy as np

    from jaxchar.data.dataset import load_own_dataset

    config, vocabulary = loaded.metadata.config, loaded.metadata.vocabulary
    dataset = load_own_dataset(
        config.replace(corpus=corpus or config.corpus, separator=None),  # in its own order
        vocabulary,
        loaded.metadata.corpus,
    )
    ids = np.concatenate([np.asarray(split) for split in dataset.splits.values()])
    last = max(0, len(ids) - config.seq_len)
    if not 0 <= position <= last:
        raise JaxcharError(f"--from-corpus must be a position from 0 to {last:,}, but it is {position:,}")
    return vocabulary.decode(ids[position : position + config.seq_len])


# ---- writing -------------------------------------------------------------------------------------


def _write(writer: "Writer", prompt: str, settings: Sequence[SampleConfig], typed: Arguments) -> bool:
    """Write all texts; return whether to the end: Ctrl-C keeps what there is, and leaves."""
    pace, display = Pace(), Display(typed.raw)
    to_the_end = True
    try:
        for config in settings:
            pieces = writer.write_batch([prompt] * typed.num_samples, config)
            if typed.json:
                _write_objects(writer, prompt, config, pieces, pace, typed.show_alternatives)
            else:
                several = len(settings) * typed.num_samples > 1
                titles = [_title(config, number) for number in range(typed.num_samples)] if several else [""]
                _write_blocks(titles, prompt, pieces, pace, display, _shower(writer, display, prompt, typed))
    except KeyboardInterrupt:
        to_the_end = False
    pace.show(settings[0].seed)
    return to_the_end


def _write_documents(writer: "Writer", separator: str, config: SampleConfig, typed: Arguments) -> bool:
    """Write documents as they would stand in a file; return whether to the end."""
    pace, display = Pace(), Display(typed.raw)
    assert typed.documents is not None
    written, cut_off, to_the_end = 0, 0, True
    try:
        for document in writer.write_documents(separator, typed.documents, config):
            pace.count(len(document.text) + len(separator))
            written, cut_off = written + 1, cut_off + (not document.whole)
            if typed.json:
                print(json.dumps({**document._asdict(), **asdict(config)}), flush=True)
            else:
                display.text(document.text + separator)
    except KeyboardInterrupt:
        to_the_end = False
    if cut_off:
        warn([f"{cut_off} of {written} documents were cut off at {config.length:,} characters; see --length"])
    if to_the_end and written < typed.documents:
        warn([f"only {written} of {typed.documents} documents were not empty"])
    pace.show(config.seed)
    return to_the_end


def _title(config: SampleConfig, number: int) -> str:
    return f"temperature {config.temperature:g}, sample {number}"


def _shower(
    writer: "Writer", display: Display, prompt: str, typed: Arguments
) -> Callable[[], Callable[[str], None]]:
    """Return what gives, for every text, the function that shows its pieces."""

    def with_alternatives() -> Callable[[str], None]:
        passage = writer.start(prompt)
        writer.probabilities(passage)  # compiles what the first line would wait for

        def show(piece: str) -> None:
            nonlocal passage
            display.choices(writer.choices(passage, piece))
            passage = writer.extend(passage, piece)

        return show

    return with_alternatives if typed.show_alternatives else lambda: display.text


def _write_blocks(
    titles: Sequence[str],
    prompt: str,
    pieces: Iterator[list[str]],
    pace: Pace,
    display: Display,
    shower: Callable[[], Callable[[str], None]],
) -> None:
    """Show a batch of texts: the first one as it comes, the others when all have come."""
    texts = [""] * len(titles)

    def begin(title: str) -> Callable[[str], None]:
        if title:
            display.heading(title)
        display.prompt(prompt)
        return shower()

    show = begin(titles[0])
    try:
        for new in pieces:
            pace.count(sum(map(len, new)))
            texts = [text + piece for text, piece in zip(texts, new, strict=True)]
            show(new[0])
    finally:
        display.end()
        for title, text in zip(titles[1:], texts[1:], strict=True):
            begin(title)(text)
            display.end()


def _write_objects(
    writer: "Writer",
    prompt: str,
    config: SampleConfig,
    pieces: Iterator[list[str]],
    pace: Pace,
    show_alternatives: bool,
) -> None:
    """Print a batch of texts as JSON, one object a line."""
    texts: list[str] = []
    try:
        for new in pieces:
            pace.count(sum(map(len, new)))
            texts = [text + piece for text, piece in zip(texts or [""] * len(new), new, strict=True)]
    finally:
        for number, text in enumerate(texts):
            record: dict[str, Any] = {"prompt": prompt, "text": text, "sample": number, **asdict(config)}
            record["characters_per_second"] = pace.characters_per_second
            record["seconds_to_first"] = pace.seconds_to_first
            if show_alternatives:
                choices = writer.choices(writer.start(prompt), text)
                record["alternatives"] = [choice._asdict() for choice in choices]
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()

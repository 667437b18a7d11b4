"""The texts of ``jaxchar sample`` on standard output, as blocks or as JSON; figures on standard error."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jaxchar.cli.messages import warn
from jaxchar.config import SampleConfig
from jaxchar.terminal.sample_display import Display, Pace

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.sampling.session import TextSession


class SampleOutput:
    """Writes texts with a model and prints them while they come.

    Ctrl-C keeps the text that there is: a method returns False then, and else True.
    """

    def __init__(self, writer: "TextSession", *, as_json: bool, raw: bool, show_alternatives: bool) -> None:
        """Take a model.

        Args:
            writer: the model.
            as_json: print one JSON object for each text.
            raw: print control characters on a terminal as they are, not as symbols.
            show_alternatives: print each character's probability and the next most probable characters.
        """
        self._writer = writer
        self._as_json = as_json
        self._show_alternatives = show_alternatives
        self._display = Display(raw)

    def write(self, prompt: str, settings: Sequence[SampleConfig], num_samples: int) -> bool:
        """Write ``num_samples`` texts after a prompt with each of the settings."""
        pace = Pace()
        is_complete = True
        try:
            for config in settings:
                pieces = self._writer.write_batch([prompt] * num_samples, config)
                if self._as_json:
                    self._write_objects(prompt, config, pieces, pace)
                else:
                    several = len(settings) * num_samples > 1
                    titles = [_title(config, number) if several else "" for number in range(num_samples)]
                    self._write_blocks(titles, prompt, pieces, pace)
        except KeyboardInterrupt:
            is_complete = False
        pace.show(settings[0].seed)
        return is_complete

    def write_documents(self, separator: str, count: int, config: SampleConfig) -> bool:
        """Write ``count`` whole documents, each followed by the separator."""
        pace = Pace()
        written, cut_off, is_complete = 0, 0, True
        try:
            for document in self._writer.write_documents(separator, count, config):
                pace.count(len(document.text) + len(separator))
                written, cut_off = written + 1, cut_off + (not document.whole)
                if self._as_json:
                    print(json.dumps({**document._asdict(), **asdict(config)}), flush=True)
                else:
                    self._display.text(document.text + separator)
        except KeyboardInterrupt:
            is_complete = False
        if cut_off:
            at = f"at {config.length:,} characters"
            warn([f"{cut_off} of {written} documents were cut off {at}; see --length"])
        if is_complete and written < count:
            warn([f"only {written} of {count} documents were not empty"])
        pace.show(config.seed)
        return is_complete

    # ---- blocks of text --------------------------------------------------------------------------

    def _write_blocks(
        self, titles: Sequence[str], prompt: str, pieces: Iterator[list[str]], pace: Pace
    ) -> None:
        """Print a batch of texts: the first one as it comes, the others when all are complete."""
        texts = [""] * len(titles)
        show = self._begin_block(titles[0], prompt)
        try:
            for new in pieces:
                pace.count(sum(map(len, new)))
                texts = [text + piece for text, piece in zip(texts, new, strict=True)]
                show(new[0])
        finally:
            self._display.end()
            for title, text in zip(titles[1:], texts[1:], strict=True):
                self._begin_block(title, prompt)(text)
                self._display.end()

    def _begin_block(self, title: str, prompt: str) -> Callable[[str], None]:
        """Print a title and the prompt; return the function that prints each piece of the text."""
        if title:
            self._display.heading(title)
        self._display.prompt(prompt)
        return self._alternatives_after(prompt) if self._show_alternatives else self._display.text

    def _alternatives_after(self, prompt: str) -> Callable[[str], None]:
        """Return the function that prints a line for each character of the text after a prompt."""
        passage = self._writer.start(prompt)
        self._writer.probabilities(passage)  # compiles now what the first line would wait for

        def show(piece: str) -> None:
            nonlocal passage
            self._display.choices(self._writer.choices(passage, piece))
            passage = self._writer.extend(passage, piece)

        return show

    # ---- JSON ------------------------------------------------------------------------------------

    def _write_objects(
        self, prompt: str, config: SampleConfig, pieces: Iterator[list[str]], pace: Pace
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
                if self._show_alternatives:
                    choices = self._writer.choices(self._writer.start(prompt), text)
                    record["alternatives"] = [choice._asdict() for choice in choices]
                print(json.dumps(record), flush=True)


def _title(config: SampleConfig, number: int) -> str:
    return f"temperature {config.temperature:g}, sample {number}"

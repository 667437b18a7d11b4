"""What a person sees of a text that is being written: text on standard output, figures on the other."""

import math
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jaxchar.terminal.screen import has_colour
from jaxchar.terminal.visible import visible

if TYPE_CHECKING:  # writer imports JAX, which --help need not wait for
    from jaxchar.sampling.session import Choice

DIM, GREEN, YELLOW, RED = "2", "32", "33", "31"
EXPECTED_BITS, SURPRISING_BITS = 1.0, 4.0  # a character's colour: green below, red above


class Pace:
    """How fast text comes, and how long the first of it was waited for."""

    def __init__(self) -> None:
        """Start the clock."""
        self._started = self._first_at = self._last_at = time.perf_counter()
        self._first = self.characters = 0

    def count(self, characters: int) -> None:
        """Take down that so many more characters have come."""
        self._last_at = time.perf_counter()
        if self.characters == 0:
            self._first_at, self._first = self._last_at, characters
        self.characters += characters

    @property
    def seconds_to_first(self) -> float:
        """Seconds until the first characters: reading the prompt and compiling included."""
        return self._first_at - self._started

    @property
    def characters_per_second(self) -> float | None:
        """The rate after the first characters, and so without compiling; None where nothing came after."""
        seconds = self._last_at - self._first_at
        return (self.characters - self._first) / seconds if seconds > 0 else None

    def show(self, seed: int) -> None:
        """Say on standard error how fast the text came, and the seed that writes it again."""
        rate = self.characters_per_second
        then = "" if rate is None else f", then {rate:,.0f} characters/s"
        print(
            f"{self.characters:,} characters: the first after {self.seconds_to_first:.3f} s, compiling "
            f"included{then}; seed {seed}",
            file=sys.stderr,
        )


class Display:
    """Text on standard output: shades and visible control characters on a terminal, bare text in a pipe."""

    def __init__(self, raw: bool = False) -> None:
        """Look at what standard output is; ``raw`` shows control characters to a terminal as they are."""
        self._terminal = sys.stdout.isatty()
        self._shades = self._terminal and has_colour(sys.stdout)  # a text in a file is only text
        self._symbols = self._terminal and not raw

    def text(self, text: str) -> None:
        """Show text that the model wrote."""
        self._write(text)

    def prompt(self, text: str) -> None:
        """Show what the model goes on from."""
        self._write(text, DIM)

    def heading(self, title: str) -> None:
        """Show what the text below is."""
        self._write(f"--- {title}\n", DIM)

    def note(self, line: str) -> None:
        """Say something that is no text of the model's; where that is piped, on standard error."""
        if self._terminal:
            self._write(f"{line}\n", DIM)
        else:
            print(line, file=sys.stderr)

    def end(self) -> None:
        """End a text."""
        self._write("\n")

    def choices(self, choices: "Iterable[Choice]") -> None:
        """Show a line for each character: its probability, its surprise, and the runners-up."""
        for choice in choices:
            bits = math.inf if choice.probability == 0 else -math.log2(choice.probability)
            colour = GREEN if bits < EXPECTED_BITS else RED if bits > SURPRISING_BITS else YELLOW
            others = "  ".join(f"{named(c)} {p:5.1%}" for c, p in choice.others)
            figures = f"{named(choice.character)} {choice.probability:6.1%} {bits:6.2f} bits"
            self._write("\n")
            self._write(figures, colour)
            self._write(f"   {others}")

    def _write(self, text: str, shade: str = "") -> None:
        text = visible(text) if self._symbols else text
        sys.stdout.write(f"\x1b[{shade}m{text}\x1b[0m" if shade and self._shades else text)
        sys.stdout.flush()


def named(character: str) -> str:
    """Return one character wide enough to see: a symbol for white space and control characters."""
    return {" ": "\u2423", "\n": "\u240a", "\t": "\u2409"}.get(character, visible(character))

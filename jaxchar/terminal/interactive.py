"""A session with a model: type a prompt, get text, go on, change settings, pick, undo, save.

:class:`Session` knows nothing of a terminal: lines go in, pieces of text come out. :func:`converse`
gives it one, with history and editing by prompt_toolkit.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jaxchar.config import SampleConfig
from jaxchar.data.vocabulary import Unknown
from jaxchar.errors import JaxcharError, quoted, speaking
from jaxchar.sampling.prompt import check_stop, notes_of
from jaxchar.terminal.sample_display import Display, named

if TYPE_CHECKING:
    from jaxchar.sampling.session import Passage, TextSession

HELP = """\
some words         begin a new text with them: \\n is a line break, \\t a tab, \\\\ one backslash
\\:some words       likewise, where they begin with a colon
an empty line      go on from where the text stopped
:add some words    put words into the text, and go on
:pick 5            choose the next character among the 5 most probable, by its number, again and again
:retry             write the last piece anew, another way
:undo              take the last piece or pick back
:text              show the whole text
:save FILE         save it
:length 200        characters to write each time
:temperature 0.7   below 1 safer, above 1 wilder; :greedy for the most probable, always
:top-k 10  :top-p 0.9  :min-p 0.05   draw among the most probable only; 0, 1 and 0: among all
:stop SOME WORDS   write no further than to the end of these; nothing: to the full length
:seed 3            the same seed and steps give the same text
:settings          show how it is set
:quit              leave"""

KIND_OF = {"temperature": float, "top_k": int, "top_p": float, "min_p": float, "length": int, "seed": int}
MOST_PICKS = 20
ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", ":": ":"}  # typed after a backslash; others stay as they are


class Shown(NamedTuple):
    """Something for a person to see."""

    kind: Literal["prompt", "text", "note"]
    text: str


class Session:
    """One person's session: the text so far, its past, and the settings."""

    def __init__(self, writer: "TextSession", config: SampleConfig, unknown: Unknown = "error") -> None:
        """Begin with no text.

        Args:
            writer: the model.
            config: the first settings.
            unknown: what becomes of typed characters that the model lacks.
        """
        self.config = config
        self.ended = False
        self._writer = writer
        self._unknown = unknown
        self._passage: Passage | None = None
        self._before: list[Passage | None] = []  # what each undo goes back to
        self._written_from: Passage | None = None  # where the last piece begins, for :retry
        self._number = 0  # of the text, among those of the same seed
        self._options: list[str] = []  # characters that a number now picks
        self._commands: dict[str, Callable[[str], Iterator[Shown]]] = {
            "add": self._add,
            "pick": self._pick,
            "retry": self._retry,
            "undo": self._undo,
            "text": self._show_text,
            "save": self._save,
            "greedy": lambda _: self._set("temperature", "0"),
            "stop": self._set_stop,
            "settings": self._show_settings,
            "help": lambda _: iter([Shown("note", HELP)]),
            "quit": self._quit,
        }

    @property
    def text(self) -> str:
        """The text so far, prompt included."""
        return "" if self._passage is None else self._passage.text

    def reply(self, line: str) -> Iterator[Shown]:
        """Do what a line says; yield what there is to see, as it comes.

        An iterator that is left in the middle leaves the text that it has yielded.

        Raises:
            JaxcharError: the line cannot be done; nothing has changed.
        """
        if self._options and line.strip().isdecimal():
            return self._picked(int(line))
        self._options = []
        if not line.startswith(":"):
            return self._begin(line) if line else self._go_on()
        name, _, rest = line[1:].partition(" ")
        setting = name.replace("-", "_")
        if setting in KIND_OF:
            return self._set(setting, rest.strip())
        if name not in self._commands:
            raise JaxcharError(f"there is no command :{name[:40]}; see :help")
        return self._commands[name](rest)

    # ---- writing ---------------------------------------------------------------------------------

    def _begin(self, typed: str) -> Iterator[Shown]:
        prompt, notes = self._adapted("prompt", typed)
        self._move_to(self._writer.start(prompt))
        self._number = 0
        yield from notes
        yield Shown("prompt", prompt)
        yield from self._write()

    def _go_on(self) -> Iterator[Shown]:
        self._move_to(self._current())
        yield from self._write()

    def _add(self, typed: str) -> Iterator[Shown]:
        added, notes = self._adapted("prompt", typed)
        self._move_to(self._writer.extend(self._current(), added))
        yield from notes
        yield Shown("prompt", added)
        yield from self._write()

    def _retry(self, _: str) -> Iterator[Shown]:
        if self._written_from is None:
            raise JaxcharError("there is nothing to write anew here; go on, or type a prompt")
        self._passage = self._written_from
        self._number += 1
        yield from self._write()

    def _write(self) -> Iterator[Shown]:
        start = self._written_from = self._current()
        for piece, passage in self._writer.write(start, self.config, self._number):
            self._passage = passage
            yield Shown("text", piece)

    def _undo(self, _: str) -> Iterator[Shown]:
        if not self._before:
            raise JaxcharError("there is nothing to undo")
        self._passage, self._written_from = self._before.pop(), None
        yield Shown("note", f"back to {len(self.text):,} characters: ...{self.text[-60:]!r}")

    def _move_to(self, passage: "Passage") -> None:
        self._before.append(self._passage)
        self._passage = passage

    def _current(self) -> "Passage":
        if self._passage is None:
            raise JaxcharError("there is no text yet to go on from; type a prompt")
        return self._passage

    def _adapted(self, what: str, typed: str) -> tuple[str, list[Shown]]:
        """Return typed text as the training text would have it, and notes of what was done for that."""
        found = self._writer.fitted(unescaped(typed), what)
        notes = [Shown("note", f"note: {line}") for line in notes_of(what, [found])]
        return self._writer.vocabulary.adapt(found.text, self._unknown), notes

    # ---- picking ---------------------------------------------------------------------------------

    def _pick(self, rest: str) -> Iterator[Shown]:
        count = _number(int, "the number of characters to pick from", rest or "5")
        if not 1 <= count <= MOST_PICKS:
            raise JaxcharError(f":pick takes a number from 1 to {MOST_PICKS}, but it is {count}")
        yield self._offer(count)

    def _offer(self, count: int) -> Shown:
        best = self._writer.most_probable(self._current(), count)
        self._options = [character for character, _ in best]
        offers = (f"{number}: {named(c)} {p:.1%}" for number, (c, p) in enumerate(best, start=1))
        return Shown("note", "   ".join(offers))

    def _picked(self, number: int) -> Iterator[Shown]:
        if not 1 <= number <= len(self._options):
            raise JaxcharError(f"pick a number from 1 to {len(self._options)}, but it is {number}")
        count, character = len(self._options), self._options[number - 1]
        self._move_to(self._writer.extend(self._current(), character))
        yield Shown("text", self.text[-60:].replace("\n", named("\n")))
        yield self._offer(count)

    # ---- settings and files ----------------------------------------------------------------------

    def _set(self, name: str, rest: str) -> Iterator[Shown]:
        if rest:
            value = _number(KIND_OF[name], f"--{name.replace('_', '-')}", rest)
            self.config = replace(self.config, **{name: value})
            self._number = 0 if name == "seed" else self._number
            self.warm_up()
        yield Shown("note", f"{name} {getattr(self.config, name)}")

    def _set_stop(self, typed: str) -> Iterator[Shown]:
        stop, notes = self._adapted("stop", typed)
        check_stop([stop], self._writer.vocabulary)
        self.config = replace(self.config, stop=(stop,) if typed else None)
        yield from notes
        yield Shown("note", f"stop {stop!r}" if typed else "no stop: always the full length")

    def warm_up(self) -> None:
        """Compile what the settings need, so that the next text comes at once."""
        passage = self._passage or self._writer.start(2 * self._writer.vocabulary.symbols[0])
        for _ in self._writer.write(passage, replace(self.config, length=1, stop=None)):
            pass

    def _show_settings(self, _: str) -> Iterator[Shown]:
        names = [*KIND_OF, "stop"]
        yield Shown("note", "  ".join(f"{name} {getattr(self.config, name)}" for name in names))

    def _show_text(self, _: str) -> Iterator[Shown]:
        yield Shown("text", self._current().text)

    def _save(self, rest: str) -> Iterator[Shown]:
        if not rest.strip():
            raise JaxcharError(":save needs the name of a file")
        file, text = Path(rest.strip()).expanduser(), self._current().text
        try:
            with file.open("x", encoding="utf-8", newline="") as opened:
                opened.write(text)
        except (OSError, UnicodeEncodeError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise JaxcharError(f"cannot save in {str(file)!r}: {reason}; give another name") from error
        yield Shown("note", f"saved {len(text):,} characters in {file}")

    def _quit(self, _: str) -> Iterator[Shown]:
        self.ended = True
        return iter(())


def _number(kind: type, name: str, typed: str) -> Any:
    try:
        return kind(typed)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise JaxcharError(f"{name} must be {expected}, but it is {quoted(typed)}") from None


def unescaped(typed: str) -> str:
    """Return a typed line with what its escapes stand for: line breaks, tabs, backslashes."""
    return re.sub(r"\\([nt\\]|(?<=^\\):)", lambda escape: ESCAPES[escape[1]], typed)


# ---- the terminal --------------------------------------------------------------------------------


def converse(writer: "TextSession", config: SampleConfig, display: Display, unknown: Unknown) -> None:
    """Hold a session at the terminal, or with the lines of a pipe, until the input ends or it is left."""
    session = Session(writer, config, unknown)
    display.note(f"compiling ...  (seed {config.seed})")
    session.warm_up()
    display.note("Type a prompt; an empty line goes on; :help shows the rest; :quit leaves.")
    with speaking("session"):
        for line in _lines():
            try:
                _show(session.reply(line), display)
            except JaxcharError as error:
                display.note(f"error: {error}")
            except KeyboardInterrupt:  # what has been written stays
                display.end()
            if session.ended:
                break


def _show(reply: Iterator[Shown], display: Display) -> None:
    show = {"prompt": display.prompt, "text": display.text, "note": display.note}
    line_is_open = False
    for kind, text in reply:
        if kind == "note" and line_is_open:
            display.end()
        show[kind](text)
        line_is_open = kind != "note"
    if line_is_open:
        display.end()


def _lines() -> Iterator[str]:
    """Yield the lines that are typed, with history and editing, or those of a pipe."""
    if not sys.stdin.isatty():
        for number, line in enumerate(sys.stdin):
            line = line if number else line.removeprefix("\ufeff")
            yield line.removesuffix("\n").removesuffix("\r")
        return
    from prompt_toolkit import PromptSession

    prompts: PromptSession[str] = PromptSession(history=_history())
    while True:
        try:
            yield prompts.prompt("> ")
        except KeyboardInterrupt:  # Ctrl-C drops the line, Ctrl-D leaves
            continue
        except EOFError:
            return


def _history() -> Any:
    """Return the history of earlier sessions, or an empty one where the file cannot be written."""
    from platformdirs import user_state_path
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        file = user_state_path("jaxchar", ensure_exists=True) / "history"
        file.touch()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))

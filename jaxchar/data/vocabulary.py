"""Characters to integer ids and back."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np

from jaxchar.errors import JaxcharError, quoted

Unknown = Literal["error", "skip", "replace"]

# Plain forms of characters that editors and phones make typographic.
TYPOGRAPHIC = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", " "),
    "\u2026": "...",
}
CHUNK = 1 << 20  # characters encoded at a time; bounds the memory, four bytes per character


class UnknownCharactersError(JaxcharError):
    """A text has characters that the vocabulary lacks."""


class Adapted(NamedTuple):
    """A text with known characters only, and how it was changed."""

    text: str
    replaced: int = 0  # characters that were replaced by another one
    left_out: int = 0  # characters that were left out


class Vocabulary:
    """The characters that a model knows; a character's id is its position in code-point order.

    The order depends on nothing but the characters themselves: not on the process, the platform or
    the order in which a text uses them.
    """

    def __init__(self, symbols: str) -> None:
        """Take the distinct characters of ``symbols``, in any order."""
        self.symbols = "".join(sorted(set(symbols)))
        self._code_points = np.array([ord(symbol) for symbol in self.symbols], np.uint32)
        self._table = np.full(int(self._code_points.max(initial=0)) + 2, -1, np.int32)
        self._table[self._code_points] = np.arange(len(self.symbols))

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __repr__(self) -> str:
        return f"Vocabulary({self.symbols!r})"

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(max(len(self) - 1, 0))

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text, [N], in the smallest unsigned type.

        Raises:
            UnknownCharactersError: it names the characters that the vocabulary lacks.
        """
        ids = np.empty(len(text), self.dtype)
        start = 0
        for codes in _code_point_chunks(text):
            found = self._table[np.minimum(codes, len(self._table) - 1)]
            if (found < 0).any():
                raise UnknownCharactersError(
                    f"{no_characters(self.unknown(text))}; leave them out or replace them"
                )
            ids[start : start + len(codes)] = found
            start += len(codes)
        return ids

    def decode(self, ids: np.ndarray) -> str:
        """Return the text of ids, [N]."""
        codes = self._code_points[np.asarray(ids, np.intp)].astype("<u4")
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    def unknown(self, text: str) -> str:
        """Return the characters of a text that the vocabulary lacks, each once, in order."""
        return "".join(sorted(set(text) - set(self.symbols)))

    def adapt(self, text: str, unknown: Unknown) -> str:
        """Return a text with known characters only.

        Args:
            text: any text.
            unknown: what to do with a character that the vocabulary lacks. ``"error"`` keeps it, and
                :meth:`encode` refuses it; ``"skip"`` leaves it out; ``"replace"`` writes its other
                case, or the plain form of a typographic quotation mark or dash, where that is known, else
                a space, else leaves it out.

        Raises:
            JaxcharError: ``unknown`` is none of these.
        """
        return self.adapt_and_count(text, unknown).text

    def adapt_and_count(self, text: str, unknown: Unknown) -> Adapted:
        """Return what :meth:`adapt` returns, and how many characters were replaced and left out."""
        if unknown not in get_args(Unknown):
            raise JaxcharError(f"--unknown must be 'error', 'skip' or 'replace', but it is {quoted(unknown)}")
        if unknown == "error":
            return Adapted(text)
        stand_ins: dict[str, str | int | None] = {c: self._stand_in(c, unknown) for c in self.unknown(text)}
        counts = {c: text.count(c) for c in stand_ins}
        replaced = sum(count for c, count in counts.items() if stand_ins[c])
        adapted = text.translate(str.maketrans(stand_ins)) if stand_ins else text
        return Adapted(adapted, replaced, sum(counts.values()) - replaced)

    def _stand_in(self, character: str, unknown: Unknown) -> str:
        plain = TYPOGRAPHIC.get(character, " ")
        candidates = (character.swapcase(), plain, " ") if unknown == "replace" else ()
        return next((c for c in candidates if not self.unknown(c)), "")

    def to_json(self) -> list[str]:
        """Return the symbols as a JSON array, in the order of their ids."""
        return list(self.symbols)

    @classmethod
    def from_json(cls, symbols: list[str]) -> "Vocabulary":
        """Return the vocabulary that :meth:`to_json` wrote.

        Raises:
            JaxcharError: it is no array of distinct single characters in code-point order.
        """
        if not isinstance(symbols, list) or not all(isinstance(s, str) and len(s) == 1 for s in symbols):
            raise JaxcharError("a vocabulary must be an array of single characters")
        vocabulary = cls("".join(symbols))
        if not symbols or vocabulary.to_json() != symbols:
            raise JaxcharError("a vocabulary must hold distinct characters in code-point order, at least one")
        return vocabulary


def _code_point_chunks(text: str) -> Iterator[np.ndarray]:
    for start in range(0, len(text), CHUNK):
        chunk = text[start : start + CHUNK].encode("utf-32-le", "surrogatepass")
        yield np.frombuffer(chunk, "<u4")


def describe_characters(characters: str) -> str:
    """Return the first ten characters with their code points, and how many more there are."""
    shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in characters[:10])
    return shown + (f" and {len(characters) - 10} more" if len(characters) > 10 else "")


def no_characters(characters: str) -> str:
    """Return the beginning of an error that names characters that a vocabulary lacks, at most ten."""
    plural = "s" if len(characters) > 1 else ""
    return f"the vocabulary has no character{plural} {describe_characters(characters)}"

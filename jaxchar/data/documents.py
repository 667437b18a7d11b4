"""Texts of many short documents: the separator that a user types, and how such a text is recognised."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import mean, median

from jaxchar.errors import JaxcharError

# ---- what a user types ---------------------------------------------------------------------------

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "0": "\0", "\\": "\\"}


def typed_separator(typed: str) -> str | None:
    r"""Return the separator that is typed on a command line: ``\n`` is a line break, ``none`` is none."""
    if typed.lower() == "none":
        return None
    return re.sub(r"\\([ntrf0\\])", lambda found: _ESCAPES[found[1]], typed)


def documents_in_words(separator: str) -> str:
    """Return how documents are separated, in words."""
    lines = separator.replace("\r\n", "\n")
    if lines == "\n":
        return "one per line"
    if lines == "\n\n":
        return "separated by empty lines"
    if lines.startswith("\n") and lines.endswith("\n") and "\n" not in lines[1:-1]:
        return f"separated by lines of {lines[1:-1]!r}"
    return f"each ended by {separator!r}"


def require_documents(separator: str | None) -> str:
    """Return the separator, or raise a JaxcharError if a model was trained on one running text."""
    if separator is None:
        raise JaxcharError(
            "the model was trained on one running text, which has no documents; write text with --length "
            "instead, or train on many short texts with --separator '\\n'"
        )
    return separator


# ---- recognising ---------------------------------------------------------------------------------
#
# In doubt, a text is one running text: shuffling the lines of prose does great harm, and reading a list of
# names in its own order does little. The bounds were set on the texts of tests/data/test_documents.py and
# then tried on others.

LOOKED_AT = 300_000  # characters: of the start, of the middle and of the end of a text
LEAST_DOCUMENTS = 20
LEAST_LINES = 40
LEAST_MARKS = 8
MARKS = ("%", "<|endoftext|>", "<|end|>", "</s>")  # on a line of their own; % is that of fortune files


def detect_separator(text: str) -> str | None:
    """Return the separator of a text of many short documents; None for one running text.

    Recognised are a mark on its own lines (``%``, ``<|endoftext|>``); blocks between empty lines that all
    begin with one label ("Title: ..."), or each with its own title; and lists of names, words or titles, one
    per line. Prose, verse, plays, code, tables and logs are running texts: their order matters.
    """
    breaks = "\r\n" if text.count("\r\n") > text.count("\n") / 2 else "\n"
    parts = [text[part] for part in parts_to_look_at(len(text))]
    if len(parts) > 1:  # of whole lines
        parts = [part[part.find("\n") + 1 : part.rfind("\n")] for part in parts]
    part = "\n".join(parts).replace("\r\n", "\n")
    for mark in MARKS:
        if _is_parted_by(part, mark):
            return f"{breaks}{mark}{breaks}"
    if _are_blocks_with_titles(part):
        return 2 * breaks
    return breaks if _is_list(part) else None


def parts_to_look_at(num_chars: int) -> list[slice]:
    """Return the parts of a text that are examined: all of it, or three large parts."""
    if num_chars <= 3 * LOOKED_AT:
        return [slice(0, num_chars)]
    starts = (0, (num_chars - LOOKED_AT) // 2, num_chars - LOOKED_AT)
    return [slice(start, start + LOOKED_AT) for start in starts]


def _share(found: Iterable[object]) -> float:
    """Return the share of true values."""
    values = [bool(value) for value in found]
    return sum(values) / max(1, len(values))


def _is_parted_by(text: str, mark: str) -> bool:
    lines = text.split("\n")
    marks = sum(line == mark for line in lines)
    # TeX, Erlang and PostScript have comments that begin with %, some of them empty.
    comments = sum(line.startswith(mark) for line in lines) - marks
    return marks >= LEAST_MARKS and marks * 3 < len(lines) * 2 and comments < marks / 10


_DATE = re.compile(r"\d{1,2}:\d\d|\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d\d")
_LABEL = re.compile(r"[^\W\d_][\w -]{0,20}:(?=\s|\d|$)")
# Of Chinese and Japanese, too, whose marks Ruff takes for mistyped ones of ours.
_SENTENCE_ENDS = tuple(".!?…。！？\"'”»")  # noqa: RUF001
_PART_ENDS = tuple(".,;:。，、；：")  # noqa: RUF001
_MIDDLE = re.compile(r"[.!?] +[A-ZÀ-ÞА-Я]|[。，、；！？].")  # noqa: RUF001, where a sentence or clause ends in a line
_USUAL = re.compile(r"[\w\s'’.,&!?()\"“”„«»:/–—·-]")  # noqa: RUF001, of names and titles


def _are_blocks_with_titles(text: str) -> bool:
    """Whether blocks between empty lines are documents: the first line of each must tell."""
    blocks = [block.strip("\n").split("\n") for block in re.split(r"\n\s*\n", text) if block.strip()]
    if len(blocks) < LEAST_DOCUMENTS or mean(sum(map(len, block)) for block in blocks) > 3_000:
        return False
    firsts = [block[0] for block in blocks]
    if _share(_DATE.search(first) for first in firsts) > 0.3:  # the entries of a log
        return False
    labels = Counter(found[0] for first in firsts if (found := _LABEL.match(first)))
    if labels and labels.most_common(1)[0][1] >= 0.95 * len(blocks):
        return _distinct(firsts) > 0.8 and _share(len(block) > 1 for block in blocks) > 0.9
    return _are_titled(blocks)


def _are_titled(blocks: Sequence[Sequence[str]]) -> bool:
    """Whether every block has a title of its own, and then sentences: a recipe, an entry."""
    firsts, lasts = [block[0] for block in blocks], [block[-1].rstrip() for block in blocks]
    return (
        _share(len(block) > 1 for block in blocks) > 0.95
        and _share(_is_title(first) for first in firsts) > 0.95
        and _distinct(firsts) > 0.8
        and _share(last.endswith(_SENTENCE_ENDS) for last in lasts) > 0.8
        and median(map(len, firsts)) < 0.8 * median(max(map(len, block)) for block in blocks)
        and _share(line[:1].isspace() for block in blocks for line in block) < 0.1
    )


def _is_title(line: str) -> bool:
    """Whether a line could be a title: short, begun like one, and not a part of a sentence."""
    begins = line[:1].isalpha() and not line[:1].islower()
    return begins and len(line) <= 60 and line.rstrip()[-1:] not in tuple(".,;:—-{}()[]")


def _distinct(items: Sequence[str]) -> float:
    return len(set(items)) / max(1, len(items))


def _is_list(text: str) -> bool:
    """Whether the lines are names, words or titles, rather than parts of something that goes on."""
    lines = text.split("\n")
    full = [line.rstrip() for line in lines if line.strip()]
    if len(full) < LEAST_LINES or len(full) < 0.98 * (len(lines) - 1) or _distinct(full) < 0.8:
        return False
    return _has_short_lines(full) and not _goes_on(full) and not _is_formal(full)


def _has_short_lines(lines: Sequence[str]) -> bool:
    """Whether lines are short of their own accord, and not broken at a width."""
    lengths = sorted(map(len, lines))
    long = lengths[int(0.95 * len(lengths))]
    if lengths[-1] > 300 or long > 160 or median(lengths) > 100:
        return False
    if long <= 20:  # names and words; but of verses in Chinese, most have one length
        cased = _share(line.lower() != line.upper() for line in lines) > 0.5
        return cased or median(lengths) <= 4 or _share(n == median(lengths) for n in lengths) < 0.8
    words = median(len(line.split()) for line in lines)
    if (
        1 < words < 4
        or _share(word[0].isupper() for line in lines for word in line.split() if len(word) > 3) > 0.7
    ):
        return True  # full names, titles in title case
    return _share(length > 0.85 * long for length in lengths) < 0.4  # verses are of much the same length


def _goes_on(lines: Sequence[str]) -> bool:
    """Whether lines read like parts of a running text: of sentences, verses, or a conversation."""
    lower = _share(line[0].islower() for line in lines)
    words = median(len(line.split()) for line in lines)
    if 0.1 < lower < 0.95 or (lower >= 0.95 and words > 2):
        return True
    if _share(line.endswith(_PART_ENDS) for line in lines) > 0.05:
        return True
    if _share(_MIDDLE.search(line[4:]) for line in lines) > 0.1:
        return True
    if _share(_LABEL.match(line) for line in lines) > 0.4:  # a speaker, a field
        return True
    return words >= 4 and _share(line.endswith(_SENTENCE_ENDS) for line in lines) > 0.3


def _is_formal(lines: Sequence[str]) -> bool:
    """Whether lines read like code, a table, a log, an outline, or numbers."""
    characters = "".join(lines)
    odd = _USUAL.sub("", characters)
    return (
        _share(line[0].isspace() for line in lines) > 0.02
        or _share(re.match(r"[#>|*+=`-]|\d+[.):]\s", line) for line in lines) > 0.05
        or len(odd) > 0.02 * len(characters)
        or len(re.findall(r"\d", characters)) > 0.15 * len(characters)
        or _share(_DATE.search(line) for line in lines) > 0.3
        or _share(re.search(r"[{}\[\]()]$|[=(]\w*[)\"]|\w\(|::|\w_\w", line) for line in lines) > 0.05
        or any(_is_table(lines, delimiter) for delimiter in ",;\t|:")
    )


def _is_table(lines: Sequence[str], delimiter: str) -> bool:
    """Whether every line has the same number of a delimiter. ``Lastname, Firstname`` is no table."""
    counts = Counter(line.count(delimiter) for line in lines)
    number, often = counts.most_common(1)[0]
    if number == 0 or often < 0.9 * len(lines):
        return False
    return not (
        number == 1 and delimiter == "," and _share(re.search(r", [^\W\d]", line) for line in lines) > 0.9
    )

"""Each character's surprise on paper: a CSV file for programs, a coloured HTML page for people.

Positions count from 0, in the text that was scored. The page stands alone: no script, no network, and
whatever the text holds is shown as text.
"""

import csv
import html
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike

from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.files import check_not_url, written_whole
from jaxchar.scoring.predictions import Predictions
from jaxchar.terminal.visible import visible

COLUMNS = ("position", "character", "id", "nats", "rank", "probability")
PAGE_CHARS = 20_000  # more would be slow to open; the CSV has all
# Shades from the expected to the surprising: the surprise in nats that each ends below, and its name.
SHADES = (
    (0.1, "as good as certain"),
    (0.5, "expected"),
    (1.0, "likely"),
    (2.0, "open"),
    (3.0, "unlikely"),
    (5.0, "surprising"),
    (np.inf, "hardly thought possible"),
)
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")  # Unicode categories that show nothing, or reorder


class ReportFolder:
    """Writes the two files of each text into a folder."""

    def __init__(self, path: str) -> None:
        """Take a folder, which need not exist yet.

        Raises:
            JaxcharError: it, or a folder that it would lie in, is a file.
        """
        check_not_url(path, "--per-character")
        try:
            self.path = Path(path).expanduser()
            files = [p for p in (self.path, *self.path.parents) if p.exists() and not p.is_dir()]
        except (OSError, RuntimeError, ValueError) as error:
            raise JaxcharError(f"--per-character {path!r} cannot be used: {error}") from error
        if files:
            raise JaxcharError(
                f"--per-character {path!r} must be a folder, existing or new, but {str(files[0])!r} is a "
                "file; give another"
            )

    def make(self) -> None:
        """Make the folder, if it is not there."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JaxcharError(f"cannot make the folder {str(self.path)!r}: {error.strerror}") from error

    def write(
        self, name: str, title: str, vocabulary: Vocabulary, ids: ArrayLike, predictions: Predictions
    ) -> list[str]:
        """Write NAME.csv and NAME.html, each whole or not at all; return their paths.

        Args:
            name: what the files are called.
            title: what the page is headed with.
            vocabulary: which character an id stands for.
            ids: [N], the text.
            predictions: of its characters.
        """
        table = CharacterTable(vocabulary, np.asarray(ids), predictions)
        files = [self.path / f"{name}.csv", self.path / f"{name}.html"]
        _write(files[0], lambda file: write_csv(file, table))
        _write(files[1], lambda file: file.writelines(page(title, table, files[0].name)))
        return [str(file) for file in files]


class CharacterTable:
    """A text's characters with what was made of each; of several predictions, the best informed."""

    def __init__(self, vocabulary: Vocabulary, ids: np.ndarray, predictions: Predictions) -> None:
        """Spread predictions over the characters of ids, [N]."""
        self.ids = ids
        self.text = vocabulary.decode(ids)
        places, first = np.unique(predictions.positions, return_index=True)
        self.surprises = np.full(len(ids), np.nan, np.float32)  # [N], NaN where nothing was predicted
        self.ranks = np.zeros(len(ids), np.int32)  # [N]
        self.surprises[places] = predictions.surprises[first]
        self.ranks[places] = predictions.ranks[first]

    def __len__(self) -> int:
        return len(self.text)

    def rows(self, stop: int | None = None) -> Iterator[tuple[int, str, int, float | None, int]]:
        """Yield position, character, id, nats and rank; nats are None where nothing was predicted."""
        columns = (self.ids[:stop].tolist(), self.surprises[:stop].tolist(), self.ranks[:stop].tolist())
        predicted = (~np.isnan(self.surprises[:stop])).tolist()
        for position, (number, nats, rank) in enumerate(zip(*columns, strict=True)):
            yield position, self.text[position], number, nats if predicted[position] else None, rank


def write_csv(file: TextIO, table: CharacterTable) -> None:
    """Write one line a character; the last three fields are empty where nothing was predicted."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for position, character, number, nats, rank in table.rows():
        made_of_it = ("", "", "") if nats is None else (f"{nats:.6g}", rank, f"{np.exp(-nats):.6g}")
        writer.writerow((position, character, number, *made_of_it))


def _write(path: Path, content: Callable[[TextIO], object]) -> None:
    try:
        with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            content(file)
    except OSError as error:
        raise JaxcharError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


# ---- the page ------------------------------------------------------------------------------------

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em;
       color: #222; background: #fff }
pre  { font: 15px/1.7 ui-monospace, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
i    { font-style: normal; position: relative }
.k0 { background: #f4f4f2 } .k1 { background: #fff4c2 } .k2 { background: #ffe083 }
.k3 { background: #fdbd55 } .k4 { background: #f88d3d } .k5 { background: #cf4420; color: #fff }
.k6 { background: #98101c; color: #fff } .none { color: #707070 }
.space::before { content: "\\b7"; position: absolute; opacity: .5 }
.line::before  { content: "\\23ce"; opacity: .6 }
.tab::before   { content: "\\21e5"; position: absolute; opacity: .6 }
.unseen { font-size: 75%; border: 1px solid; border-radius: 3px }
table { border-spacing: 0 2px } td { padding: 0 .8em }
"""
# No script can run in a page that forbids them all, and nothing can be fetched.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
WHITESPACE = {" ": "space", "\n": "line", "\t": "tab"}


def page(title: str, table: CharacterTable, csv_name: str) -> Iterable[str]:
    """Yield the pieces of the HTML page."""
    heading = html.escape(visible(title))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>\n"
    )
    yield f"<p>{_summary(table, csv_name)}</p>\n{legend()}\n<pre>\n"
    for row in table.rows(PAGE_CHARS):
        yield character_html(*row)
    yield "</pre>\n</body>\n</html>\n"


def _summary(table: CharacterTable, csv_name: str) -> str:
    predicted = table.surprises[~np.isnan(table.surprises)]
    said = (
        f"{len(predicted):,} of {len(table):,} characters predicted, "
        f"{predicted.mean(dtype=np.float64):.4f} nats each. Point at a character for its figures."
    )
    if len(table) > PAGE_CHARS:
        said += f" <strong>Shown are the first {PAGE_CHARS:,}</strong>; all are in {html.escape(csv_name)}."
    return said


def legend() -> str:
    """Return what each shade means, in words and probabilities."""
    rows, low = [], 0.0
    for shade, (high, name) in enumerate(SHADES):
        nats = f"{low:g} to {high:g} nats" if np.isfinite(high) else f"{low:g} nats and more"
        probability = f"probability {np.exp(-high):.3f} to {np.exp(-low):.3f}"
        rows.append(f'<tr><td class="k{shade}">{name}</td><td>{nats}</td><td>{probability}</td></tr>')
        low = high
    marks = (
        "Grey on white: not predicted. &#xb7; in a paler shade is a space, &#x23ce; the end of a line, "
        "&#x21e5; a tab; other characters that show nothing stand framed, as a symbol or their code point."
    )
    return f"<table>{''.join(rows)}</table>\n<p>{marks}</p>"


def character_html(position: int, character: str, number: int, nats: float | None, rank: int) -> str:
    """Return one character in the colour of its surprise; the arguments are a row of a CharacterTable."""
    del number
    name = f"{position:,}: {_named(character)}"
    if nats is None:
        shade, figures = "none", "not predicted"
    else:
        shade = f"k{next(k for k, (high, _) in enumerate(SHADES) if nats < high or k == len(SHADES) - 1)}"
        figures = f"{nats:.3g} nats, probability {np.exp(-nats):.3g}, rank {rank}"
    shown, kind = shown_html(character)
    label = html.escape(f"{name}, {figures}")
    after = "\n" if character == "\n" else ""
    return f'<i class="{shade}{kind}" title="{label}">{shown}</i>{after}'


def _named(character: str) -> str:
    code = f"U+{ord(character):04X}"
    if character in WHITESPACE or unicodedata.category(character) in UNSEEN:
        return code
    return f"{character} ({code})"


def shown_html(character: str) -> tuple[str, str]:
    """Return what stands for a character on the page, and the classes that draw it."""
    if character in WHITESPACE:
        return "" if character == "\n" else character, f" {WHITESPACE[character]}"
    if unicodedata.category(character) in UNSEEN:
        symbol = visible(character)
        drawn = symbol if symbol not in (character, "\ufffd") else f"U+{ord(character):04X}"
        return drawn, " unseen"
    return html.escape(character), ""

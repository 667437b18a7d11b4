"""The one line that shows where a run stands, made to fit any width."""

from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from jaxchar.progress.status import LossCurve, Progress, Status
from jaxchar.terminal.visible import visible

LARGEST_BAR, SMALLEST_BAR = 40, 8  # columns
LARGEST_CURVE = 20  # columns
GAP = "  "


class Glyphs(NamedTuple):
    """What bars and curves are drawn with."""

    done: str
    to_do: str
    heights: str  # from the lowest to the highest


UNICODE = Glyphs("━", "─", "▁▂▃▄▅▆▇█")
ASCII = Glyphs("#", "-", "_.-=^")


class Piece(NamedTuple):
    """Some characters in one style."""

    text: str
    style: str = ""


class Field(NamedTuple):
    """What the line may say of one thing."""

    importance: int  # where not all fits, the least important goes first
    pieces: tuple[Piece, ...]

    @property
    def columns(self) -> int:
        """How wide it is on a screen."""
        return sum(cell_len(piece.text) for piece in self.pieces)


def progress_line(status: Status, columns: int, glyphs: Glyphs = UNICODE) -> list[Piece]:
    """Return the pieces of the line, which fill at most so many columns.

    The bar shrinks first. Then speed, accuracy, curve, bar and step go, at last the loss; the time left
    stays longest.
    """
    fields = _fitting(_fields(status, columns, glyphs), columns)
    if status.progress is not None and fields[0].importance == 4:
        room = columns - _width(fields) + SMALLEST_BAR
        fields[0] = Field(4, bar(status.progress.fraction, min(LARGEST_BAR, room), glyphs))
    pieces = [piece for field in fields for piece in (Piece(GAP), *field.pieces)][1:]
    if _width(fields) > columns:  # a single field, and even that is too long
        pieces = [Piece(set_cell_size(pieces[0].text, columns), pieces[0].style)]
    return pieces


def plain_line(progress: Progress) -> str:
    """Return the same as words without a bar, for an output where nothing can be changed."""
    return (
        f"{progress.position}  loss {progress.loss:.4f}  accuracy {progress.accuracy:.4f}  "
        f"{progress.rates[0]:,.1f} steps/s  {progress.rates[1]:,.0f} chars/s  {progress.left}"
    )


def _fields(status: Status, columns: int, glyphs: Glyphs) -> list[Field]:
    """Return all that could be said, in the order in which it stands in the line."""
    progress, phase = status.progress, status.phase
    doing = [Field(7, (Piece(visible(phase.words), "cyan"),))] if phase else []
    if progress is None:
        return doing or [Field(7, (Piece("training ...", "cyan"),))]
    step = Field(6, (Piece(f"step {progress.step:,}/{progress.total_steps:,}"),))
    curve = _curve(status.curve, progress, columns, glyphs)
    return [
        Field(4, bar(progress.fraction, SMALLEST_BAR, glyphs)),
        *(doing or [step]),
        Field(8, (Piece(f"loss {progress.loss:.4f}"),)),
        Field(5, (Piece(curve, "cyan"),)),
        Field(9, (Piece(progress.left, "bold"),)),
        Field(3, (Piece(f"accuracy {progress.accuracy:.1%}"),)),
        Field(2, (Piece(f"{progress.rates[1]:,.0f} characters/s"),)),
        Field(1, (Piece(f"{progress.rates[0]:,.1f} steps/s"),)),
    ]


def _fitting(fields: list[Field], columns: int) -> list[Field]:
    """Return the fields that fit, the least important left out."""
    kept = list(fields)
    while len(kept) > 1 and _width(kept) > columns:
        kept.remove(min(kept, key=lambda field: field.importance))
    return kept


def _width(fields: list[Field]) -> int:
    return sum(field.columns for field in fields) + len(GAP) * (len(fields) - 1)


def bar(fraction: float, columns: int, glyphs: Glyphs = UNICODE) -> tuple[Piece, Piece]:
    """Return a bar: what is done, and what is to do."""
    done = round(fraction * columns)
    return Piece(glyphs.done * done, "green"), Piece(glyphs.to_do * (columns - done), "dim")


def sparkline(values: list[float], glyphs: Glyphs = UNICODE) -> str:
    """Return numbers as a curve of one character each."""
    if not values:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1.0
    top = len(glyphs.heights) - 1
    return "".join(glyphs.heights[round(top * (value - low) / span)] for value in values)


def _curve(curve: LossCurve, progress: Progress, columns: int, glyphs: Glyphs) -> str:
    """Return the loss so far as a curve, the longer the more is done."""
    most = min(LARGEST_CURVE, columns // 7)
    return sparkline(curve.means(max(1, round(most * progress.fraction**0.5))), glyphs)

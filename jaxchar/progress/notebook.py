"""A run in a notebook: one output that is updated in place."""

import html
import sys
import time
from typing import Any

from jaxchar.progress.line import plain_line
from jaxchar.progress.status import Progress, Sample, Status
from jaxchar.terminal.screen import FILE_COLUMNS
from jaxchar.terminal.visible import visible

UPDATE_SECONDS = 0.5  # at least, between two updates
MOST_NOTICES = 100  # lines that stay in sight
CURVE_SIZE = (480, 120)  # pixels
TEXT_STYLE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.5em 0"


def in_notebook() -> bool:
    """Return whether a kernel runs this program, and shows standard output in a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None and type(sys.stdout).__module__.startswith("ipykernel")


class NotebookView:
    """One display with a bar, the loss as a curve, the newest sample and all notices."""

    columns = FILE_COLUMNS

    def __init__(self) -> None:
        """Show nothing yet."""
        self._handle: Any = None  # of the display, once there is one
        self._notices: list[str] = []
        self._sample: Sample | None = None  # the newest
        self._heading = ""  # of the sample
        self._status = Status()
        self._next_update = 0.0

    def notice(self, line: str) -> None:
        """Add a line to those in sight."""
        self._notices.append(line)

    def sample(self, sample: Sample, heading: str) -> None:
        """Show a sample in the place of the one before."""
        self._sample, self._heading = sample, heading

    def look(self, status: Status) -> None:
        """Update the display, at most a few times a second."""
        self._status = status
        if time.monotonic() >= self._next_update:
            self._update()

    def rest(self) -> None:
        """Show how it stands now."""
        self._update()

    def _update(self) -> None:
        from IPython.display import display

        self._next_update = time.monotonic() + UPDATE_SECONDS
        shown = {"text/html": self._html(), "text/plain": self._text()}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def _html(self) -> str:
        status = self._status
        pieces = [f'<pre style="{TEXT_STYLE};max-height:12em;overflow:auto">{_escaped(self._lines())}</pre>']
        if status.progress is not None:
            pieces.append(_bar(status.progress))
            pieces += [_curve(status.progress, status)] if status.curve.points else []
        if status.phase is not None:
            pieces.append(f"<div>{_escaped(status.phase.text)}</div>")
        if self._sample is not None:
            prompt = f'<span style="opacity:.55">{_escaped(self._sample.prompt)}</span>'
            pieces.append(f"<div><b>{_escaped(self._heading)}</b></div>")
            pieces.append(f'<pre style="{TEXT_STYLE}">{prompt}{_escaped(self._sample.text)}</pre>')
        return f"<div>{''.join(pieces)}</div>"

    def _text(self) -> str:
        """Return the same for a frontend without HTML."""
        status = self._status
        lines = [self._lines()]
        lines += [plain_line(status.progress)] if status.progress else []
        lines += [status.phase.text] if status.phase else []
        if self._sample is not None:
            lines += [f"--- {self._heading}", self._sample.prompt + self._sample.text]
        return visible("\n".join(lines))

    def _lines(self) -> str:
        left_out = len(self._notices) - MOST_NOTICES
        first = [f"({left_out:,} earlier lines are left out)"] if left_out > 0 else []
        return "\n".join(first + self._notices[-MOST_NOTICES:])


def _escaped(text: str) -> str:
    return html.escape(visible(text))


def _bar(progress: Progress) -> str:
    done = f"width:{100 * progress.fraction:.1f}%;height:100%;background:#2a9d8f;border-radius:4px"
    frame = "width:480px;max-width:100%;height:10px;background:rgba(128,128,128,.3);border-radius:4px"
    words = _escaped(plain_line(progress))
    return f'<div style="{frame}"><div style="{done}"></div></div><div>{words}</div>'


def _curve(progress: Progress, status: Status) -> str:
    """Return the training loss as a line over the whole run, the validation losses as dots."""
    width, height = CURVE_SIZE
    total = max(1, progress.total_steps)
    losses = [loss for _, loss in (*status.curve.points, *status.validation)]
    low, span = min(losses), (max(losses) - min(losses)) or 1.0

    def place(step: int, loss: float) -> tuple[str, str]:
        return f"{width * step / total:.1f}", f"{4 + (height - 8) * (1 - (loss - low) / span):.1f}"

    line = " ".join(",".join(place(*point)) for point in status.curve.points)
    places = [place(*point) for point in status.validation]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="#e76f51"/>' for x, y in places)
    words = f"loss, training (line) and validation (dots): {max(losses):.3f} to {low:.3f}"
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{words}"><title>{words}</title>'
        f'<polyline points="{line}" fill="none" stroke="#457b9d" stroke-width="1.5"/>{dots}</svg>'
        f'<div style="opacity:.7">{words}</div>'
    )

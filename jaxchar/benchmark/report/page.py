"""The page of the report: one HTML file with its picture in it, which any browser shows from anywhere."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from jaxchar.benchmark.report.sections import Outcome
from jaxchar.benchmark.report.tables import Table, tables_of, verdict

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: .6em 0; display: block; overflow-x: auto; }
th, td { border: 1px solid #bbb; padding: .15em .6em; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bad { color: #b00020; font-weight: bold; } .note { color: #555; margin: .2em 0; } img { max-width: 100%; }
"""
BAD_WORDS = ("IS OFF", "FAILED", "failed", "stopped")


class Report(NamedTuple):
    """All that the page says."""

    command: str
    date: str  # ISO 8601
    minutes: float  # that were given
    seconds: float  # that were taken
    outcomes: Sequence[Outcome]

    @property
    def title(self) -> str:
        """Name the device, where it is known."""
        rows = next((outcome.rows for outcome in self.outcomes if outcome.name == "machine"), [])
        device = rows[0].get("device") if rows else None
        return f"jaxchar on {device or 'an unknown device'}"

    def to_json(self) -> dict:
        """Return everything with all raw figures."""
        return self._asdict() | {"outcomes": [outcome._asdict() for outcome in self.outcomes]}


def page(report: Report, picture: Path | None) -> str:
    """Return the page as HTML.

    Args:
        report: what it says.
        picture: a PNG file to put into it, or None.
    """
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p>{escape(report.date)}; <code>{escape(report.command)}</code>; "
        f"{report.seconds / 60:.1f} of {report.minutes:g} minutes.</p>",
        _table(_contents(report.outcomes)),
    ]
    if picture is not None:
        image = base64.b64encode(picture.read_bytes()).decode()
        parts.append(f'<img alt="Speeds of training and writing" src="data:image/png;base64,{image}">')
    parts += [_section(outcome) for outcome in report.outcomes]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _contents(outcomes: Sequence[Outcome]) -> Table:
    rows = [
        (
            outcome.title,
            verdict(outcome.name, outcome.rows),
            outcome.said,
            f"{outcome.seconds:.0f}",
            f"{outcome.limit:.0f}",
        )
        for outcome in outcomes
    ]
    return Table(("section", "found", "", "seconds", "at most"), rows)


def _section(outcome: Outcome) -> str:
    parts = [f'<h2 id="{outcome.name}">{escape(outcome.title)}</h2>']
    if not outcome.finished:
        parts.append(f'<p class="bad">{escape(outcome.said)}</p>')
    tables = tables_of(outcome.name, outcome.rows)
    return "\n".join([*parts, *map(_table, tables)])


def _table(table: Table) -> str:
    lines = [f"<h3>{escape(table.title)}</h3>"] if table.title else []
    if table.rows:
        head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
        body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
        lines.append(f"<table><tr>{head}</tr>\n{body}</table>")
    return "\n".join([*lines, *map(_note, table.notes)])


def _cell(words: str) -> str:
    kind = ' class="bad"' if words.startswith(BAD_WORDS) else ' class="number"' if words[:1].isdigit() else ""
    return f"<td{kind}>{escape(words)}</td>"


def _note(words: str) -> str:
    bad = "FAILED" in words or words.startswith("failed")
    return f'<p class="note{" bad" if bad else ""}">{escape(words)}</p>'

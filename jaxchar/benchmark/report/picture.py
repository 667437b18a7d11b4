"""The picture of the report: speeds of training and of writing, beside what each is compared with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxchar.benchmark.baselines import KNOWN
from jaxchar.benchmark.cells import Cell
from jaxchar.benchmark.report.sections import Outcome, Row
from jaxchar.training.plot import drawn

HEIGHT = 0.24  # inches a bar
TIMED = ("race", "implementations", "unroll", "writing")


def draw_speeds(outcomes: Sequence[Outcome], title: str, picture: Path) -> bool:
    """Draw a bar for everybody in every event, as a multiple of the one that he is compared with.

    Returns:
        Whether there was anything to draw.
    """
    groups = list(_groups(outcomes))
    if not groups:
        return False
    bars = sum(len(found) + 1 for _, found in groups)
    with drawn(picture, (9, 1.2 + HEIGHT * bars)) as (_, axes):
        ticks, at = {}, 0
        for words, found in groups:
            ticks[at] = words
            for name, row in found.items():
                at += 1
                ticks[at] = KNOWN[name].label
                _draw_bar(axes, at, row["ratio"], f"C{list(KNOWN).index(name) % 10}")
            at += 1
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="both", labelsize=7)
        axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8, parse_math=False)
        for tick, where in zip(axes.get_yticklabels(), ticks, strict=True):
            tick.set_fontweight("bold" if ticks[where] in dict(groups) else "normal")
        axes.set_ylim(at, -1)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlabel(
            "times the speed of the one marked = 1 in the tables: median, lowest to highest round"
        )
        axes.set_title(title, parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
    return True


def _groups(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, dict[str, Row]]]:
    """Yield the words for each event, and the results of those who finished it."""
    for outcome in outcomes:
        for event in outcome.rows if outcome.name in TIMED else ():
            found = {name: row for name, row in event.get("contenders", {}).items() if "ratio" in row}
            if len(found) > 1:  # one alone is compared with itself
                yield _words(outcome.name, event), found


def _words(section: str, event: Row) -> str:
    cell = Cell(**event["cell"])
    if section == "writing":
        return cell.name
    return f"{section}: {cell.name.replace('_', ' ')}, {event['dtype']}"


def _draw_bar(axes: Any, at: int, ratio: dict[str, float], color: str) -> None:
    """Draw a bar from 1 to the median, a line for the spread, and the median in figures."""
    median, lowest, highest = (ratio[key] for key in ("median", "lowest", "highest"))
    spread = [[median - lowest], [highest - median]]
    error = {"elinewidth": 0.8, "ecolor": "0.3"}
    axes.barh([at], [median - 1], 0.8, left=1, xerr=spread, color=color, error_kw=error)
    axes.text(highest, at, f" {median:.2f}", va="center", fontsize=8, clip_on=False)

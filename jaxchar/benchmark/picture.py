"""The picture of a benchmark: training speeds relative to the fastest baseline."""

from pathlib import Path
from typing import Any

from jaxchar.benchmark.baselines import KNOWN
from jaxchar.benchmark.cells import Cell
from jaxchar.training.plot import drawn

HEIGHT = 0.2  # inches a bar


def plot_speeds(results: dict[str, Any], picture: Path) -> None:
    """Draw a group of bars for each event: speed over that of the fastest baseline, with its spread."""
    events = [event for event in results["training"] if event["reference"]]
    names = _finishers(events)
    bars = len(events) * (len(names) + 1)
    with drawn(picture, (9, 1.8 + HEIGHT * bars)) as (figure, axes):
        for number, name in enumerate(names):
            places = [at * (len(names) + 1) + number for at in range(len(events))]
            _draw_bars(axes, events, name, places, f"C{list(KNOWN).index(name)}")
        middle = (len(names) - 1) / 2
        axes.set_yticks(
            [at * (len(names) + 1) + middle for at in range(len(events))], [_words(e) for e in events]
        )
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlabel("training speed over the fastest baseline's: median of the rounds, lowest to highest")
        machine = results["machine"]
        axes.set_title(
            f"{machine['device']}, {machine['cores']} cores, {machine['date'][:10]}", parse_math=False
        )
        axes.spines[["top", "right"]].set_visible(False)
        if names:
            figure.legend(loc="outside lower center", ncols=3, frameon=False)


def _finishers(events: list[dict[str, Any]]) -> list[str]:
    return [name for name in KNOWN if any("ratio" in event["contenders"].get(name, ()) for event in events)]


def _draw_bars(axes: Any, events: list[dict[str, Any]], name: str, places: list[int], color: str) -> None:
    """Draw one baseline's bar, for every event that it finished."""
    found = [event["contenders"].get(name, {}) for event in events]
    bars = [(at, one["ratio"]) for at, one in zip(places, found, strict=True) if "ratio" in one]
    medians = [ratio["median"] for _, ratio in bars]
    below = [ratio["median"] - ratio["lowest"] for _, ratio in bars]
    above = [ratio["highest"] - ratio["median"] for _, ratio in bars]
    axes.barh(
        [at for at, _ in bars],
        medians,
        0.9,
        xerr=[below, above],
        label=KNOWN[name].label,
        color=color,
        error_kw={"elinewidth": 0.8, "ecolor": "0.3"},
    )


def _words(event: dict[str, Any]) -> str:
    cell = Cell(**event["cell"])
    dtype = "" if event["dtype"] == "float32" else f"\n{event['dtype']}"
    name = cell.name.replace("_", " ")
    return f"{name}{dtype}\nB {cell.batch_size:,}, T {cell.seq_len}, H {cell.hidden_size}"

"""Draw the tutorial's pictures into ``docs/pictures``.

``python docs/make_pictures.py`` draws those that explain. With the tutorial's run and the longer one that
it goes on to, those that show measurements are drawn, too:

    python docs/make_pictures.py --run runs/words_generator --longer runs/longer
"""

import argparse
import io
import json
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image

from experiments.words_generator import CONFIG
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.language_model import LanguageModel
from jaxchar.model_files import load

PICTURES = Path(__file__).parent / "pictures"
TEXT = "first citizen:\nbefore we proceed"  # how the corpus begins
WINDOW = CONFIG.seq_len
HIDDEN, SYMBOLS = 128, 36
PAPER, INK, GREY = "#fbfaf6", "#22262b", "#8a8f98"
BLUE, ORANGE, GREEN, PURPLE = "#3568a8", "#d2691e", "#3f8457", "#7d5ba6"
PALE = {BLUE: "#d3e2f4", ORANGE: "#fae0c8", GREEN: "#d5ead9", PURPLE: "#e5daf0"}
Place = tuple[float, float]
WIDTH = 8.0  # inches
DPI = 150
COLORS = 64  # of a picture: small files

plt.rcParams.update(
    {
        "font.size": 13,
        "figure.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": GREY,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "figure.constrained_layout.w_pad": 0.12,  # inches
        "figure.constrained_layout.h_pad": 0.12,
    }
)


# ---- helpers -------------------------------------------------------------------------------------


def shown(symbol: str) -> str:
    """Return a symbol as it is drawn: white space as the signs that stand for it."""
    return {"\n": "\u21b5", " ": "\u2423"}.get(symbol, symbol)


def canvas(height: float, width: float, tall: float) -> Axes:
    """Return axes for a drawing in units of its own: ``width`` by ``tall`` of them, no ticks."""
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    axes.set(xlim=(0, width), ylim=(0, tall))
    axes.axis("off")
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.98)
    return axes


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, label: str = "") -> None:
    """Draw a rounded box with a label in its middle."""
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((x, y), width, height, style, fc=PALE[color], ec=color, lw=1.3))
    axes.text(x + width / 2, y + height / 2, label, ha="center", va="center")


def arrow(axes: Axes, start: Place, end: Place, color: str = INK) -> None:
    """Draw an arrow from one place to another."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=color, lw=1.4))


def keep(name: str) -> None:
    """Write the picture that was drawn, and close it."""
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.png"
    drawn = io.BytesIO()
    plt.savefig(drawn, dpi=DPI)
    plt.close()
    Image.open(drawn).convert("RGB").quantize(COLORS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


# ---- pictures that explain -----------------------------------------------------------------------


def draw_windows() -> None:
    """Three windows, each one character on from the one before, and their targets."""
    characters = WINDOW + 3
    axes = canvas(3.0, characters + 0.4, 7.1)
    for place, symbol in enumerate(TEXT[:characters]):
        axes.text(place + 0.7, 6.5, shown(symbol), ha="center", va="center", family="monospace", size=16)
    for number in range(3):
        y = 4.4 - 2.0 * number
        box(axes, number + 0.2, y, WINDOW, 1.3, BLUE)
        box(axes, number + 0.3 + WINDOW, y, 0.85, 1.3, ORANGE)
        for place, symbol in enumerate(TEXT[number : number + WINDOW + 1]):
            x, color = number + place + 0.7, ORANGE if place == WINDOW else INK
            axes.text(x, y + 0.65, shown(symbol), ha="center", va="center", family="monospace", color=color)
    keep("windows")


def draw_one_hot(vocabulary: Vocabulary) -> None:
    """The first window as the network reads it: a column of 36 numbers a character, one of them 1."""
    ids = vocabulary.encode(TEXT[:WINDOW])
    rows = np.arange(len(vocabulary))
    _, axes = plt.subplots(figsize=(WIDTH, 7.6), layout="constrained")
    axes.pcolormesh((rows[:, None] == ids).astype(float), cmap="Blues", vmax=1.25, ec="#e2e0d8", lw=0.6)
    for place, symbol in enumerate(ids):
        axes.text(place + 0.5, symbol + 0.52, "1", ha="center", va="center", color="white", size=11)
    axes.set_yticks(rows + 0.5, [shown(s) for s in vocabulary.symbols], family="monospace", size=11)
    axes.set_xticks(np.arange(WINDOW) + 0.5, [shown(s) for s in TEXT[:WINDOW]], family="monospace", size=15)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("the 16 characters of the window: time steps", labelpad=8)
    axes.set_ylabel("the 36 symbols of the vocabulary")
    keep("one_hot")


def draw_cell() -> None:
    """An LSTM cell: four gates, one memory."""
    axes = canvas(4.4, 16, 8.8)
    gates = (("f", "forget", ORANGE), ("i", "input", BLUE), ("g", "proposal", GREEN), ("o", "output", PURPLE))
    for number, (letter, name, color) in enumerate(gates):
        x = 2.6 + 2.9 * number
        box(axes, x - 1.3, 2.6, 2.6, 1.15, color, f"${letter}_t$ {name}")
        arrow(axes, (x, 1.5), (x, 2.55), GREY)
    axes.plot([0.5, 11.3], [1.5, 1.5], color=GREY, lw=1.6)
    axes.text(
        0.4,
        0.75,
        "$x_t$, the character, and $h_{t-1}$, what was said after the one before",
        va="center",
        color=INK,
    )
    for x, sign in ((2.6, "\u00d7"), (6.95, "+"), (11.3, "\u00d7")):
        y = 7.4 if sign != "\u00d7" or x < 5 else 5.4
        axes.plot(x, y, "o", ms=25, mfc="white", mec=INK)
        axes.text(x, y - 0.03, sign, ha="center", va="center", size=17)
    arrow(axes, (0.5, 7.4), (2.1, 7.4))
    arrow(axes, (3.1, 7.4), (6.45, 7.4))
    arrow(axes, (7.45, 7.4), (15.6, 7.4))
    arrow(axes, (2.6, 3.8), (2.6, 6.9), ORANGE)
    axes.plot([5.5, 6.95, 8.4], [3.8, 5.4, 3.8], color=INK, lw=1.4)
    axes.plot(6.95, 5.4, "o", ms=25, mfc="white", mec=INK)
    axes.text(6.95, 5.37, "\u00d7", ha="center", va="center", size=17)
    arrow(axes, (6.95, 5.9), (6.95, 6.9))
    arrow(axes, (11.3, 3.8), (11.3, 4.9), PURPLE)
    arrow(axes, (11.3, 7.4), (11.3, 5.9))
    arrow(axes, (11.8, 5.4), (15.6, 5.4))
    axes.text(11.55, 6.6, "tanh", va="center")
    axes.text(0.5, 8.1, "$c_{t-1}$: the memory", va="center")
    axes.text(15.6, 8.1, "$c_t$", va="center", ha="right")
    axes.text(15.6, 6.1, "$h_t$: what is said now", va="center", ha="right")
    keep("cell")


def draw_parameters() -> None:
    """Every number of the model, to scale (but for the biases, drawn taller)."""
    axes = canvas(4.6, 760, 400)
    rows = ((SYMBOLS, "36", "$W$"), (HIDDEN, "128", "$U$"), (14, "1", "$b$"))
    gates = (("i", BLUE), ("f", ORANGE), ("g", GREEN), ("o", PURPLE))
    for column, (gate, color) in enumerate(gates):
        x, top = 60 + 132 * column, 350.0
        axes.text(x + 64, 375, f"gate ${gate}$: 128", ha="center", va="center")
        for height, label, name in rows:
            tall = height * 1.25
            axes.add_patch(Rectangle((x, top - tall), 128, tall, fc=PALE[color], ec=color, lw=1.3))
            axes.text(x + 64, top - tall / 2, name, ha="center", va="center", size=13 if height > 20 else 11)
            if column == 0:
                axes.text(x - 10, top - tall / 2, label, ha="right", va="center")
            top -= tall + 8
    sums = "LSTM: 4 \u00d7 (36 + 128 + 1) \u00d7 128 = 84,480"
    axes.text(322, 72, sums, ha="center", va="center", size=14)
    _draw_dense(axes, 665)
    axes.text(380, 18, "together 89,124", ha="center", va="center", size=15, weight="bold")
    keep("parameters")


def _draw_dense(axes: Axes, x: float) -> None:
    """The dense layer's table, and below it its biases."""
    top, tall = 350, HIDDEN * 1.25
    axes.text(x + 18, 375, "36", ha="center", va="center")
    for y, height, rows in ((top - tall, tall, "128"), (top - tall - 26, 18, "1")):
        axes.add_patch(Rectangle((x, y), 36, height, fc="#e6e6e3", ec=INK, lw=1.3))
        axes.text(x - 8, y + height / 2, rows, ha="right", va="center")
    axes.text(x + 10, 100, "dense:\n128 \u00d7 36 + 36\n= 4,644", ha="center", va="center", size=14)


def draw_targets() -> None:
    """Where the targets are: after the window, or at every step; and where the state comes from."""
    axes = canvas(5.8, 16, 12.8)
    titles = (
        "many-to-one: a zero state, one target after the window",
        "many-to-many: a target at every step",
        "stateful: the next step goes on with the state of this one",
    )
    for row, title in enumerate(titles):
        y = 8.9 - 4.1 * row
        axes.text(0.3, y + 3.35, title, va="center", weight="bold")
        for place in range(10):
            x = 1.3 + 1.45 * place
            second = place >= 5
            if second and row < 2:
                break
            _draw_step(axes, x, y, TEXT[place : place + 2], has_target=row > 0 or place == 4)
            if place not in (0, 5):
                arrow(axes, (x - 0.5, y + 1.5), (x - 0.05, y + 1.5), GREY)
        if row == 2:
            arrow(axes, (8.05, y + 1.5), (8.5, y + 1.5), PURPLE)
            axes.text(
                8.28, y - 0.25, "the state is carried over", ha="center", va="center", color=PURPLE, size=12
            )
    for row in (0, 1):
        note = "5 steps of work, 1 lesson" if row == 0 else "5 steps of work, 5 lessons"
        axes.text(9.4, 8.9 - 4.1 * row + 1.5, note, va="center")
    keep("targets")


def _draw_step(axes: Axes, x: float, y: float, pair: str, *, has_target: bool) -> None:
    """One time step: the character that is read, the cell, and the character asked for."""
    box(axes, x, y + 1.05, 0.9, 0.9, BLUE)
    axes.text(x + 0.45, y + 0.35, shown(pair[0]), ha="center", va="center", family="monospace", size=15)
    if has_target:
        axes.text(
            x + 0.45,
            y + 2.6,
            shown(pair[1]),
            ha="center",
            va="center",
            family="monospace",
            size=15,
            color=ORANGE,
        )
        axes.plot([x + 0.45, x + 0.45], [y + 1.98, y + 2.25], color=ORANGE, lw=1.4)


# ---- pictures that show measurements -------------------------------------------------------------


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the records of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def column(records: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs at which something was measured, and what."""
    kept = [(record["epoch"], record[name]) for record in records if name in record]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def draw_loss(run: Path) -> None:
    """The loss of the tutorial's run, from knowing nothing."""
    records = read_metrics(run)
    _, axes = plt.subplots(figsize=(WIDTH, 4.4), layout="constrained")
    axes.axhline(math.log(SYMBOLS), color=GREY, ls="--", lw=1.3)
    axes.text(3, math.log(SYMBOLS) + 0.05, "knowing nothing: ln 36 = 3.584", ha="right", color=INK)
    axes.plot(*column(records, "train_loss"), color=BLUE, lw=1.8, label="training windows")
    axes.plot(*column(records, "val_loss"), "o-", color=ORANGE, lw=1.8, label="held-out text")
    axes.set(xlabel="epoch", ylabel="loss, nats per character", ylim=(1.4, 3.8), xlim=(0, 3.05))
    axes.set_xticks(range(4))
    axes.legend(loc="center right")
    keep("loss")


def draw_overfitting(run: Path) -> None:
    """Accuracy and loss over more epochs than the model has use for."""
    records = read_metrics(run)
    _, panels = plt.subplots(1, 2, figsize=(WIDTH, 4.0), layout="constrained")
    for axes, name, title in zip(
        panels, ("accuracy", "loss"), ("accuracy", "loss, nats per character"), strict=True
    ):
        axes.plot(*per_epoch(records, f"train_{name}"), color=BLUE, lw=2, label="training windows")
        axes.plot(*column(records, f"val_{name}"), color=ORANGE, lw=2, label="held-out text")
        axes.set_title(title, size=13)
        axes.set_xlabel("epoch")
        axes.set_xticks(range(0, 21, 5))
    panels[0].legend(loc="lower right")
    keep("overfitting")


def per_epoch(records: list[dict[str, float]], name: str) -> tuple[list[int], list[float]]:
    """Return the mean of what was logged in each epoch."""
    values: dict[int, list[float]] = {}
    for epoch, value in zip(*column(records, name), strict=True):
        values.setdefault(math.ceil(epoch), []).append(value)
    return list(values), [float(np.mean(of_epoch)) for of_epoch in values.values()]


def draw_surprise(model: LanguageModel, text: str) -> None:
    """The surprise of every character of a text."""
    score = model.score(text)
    _, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    colors = [ORANGE if surprise > math.log(SYMBOLS) else BLUE for surprise in score.surprises]
    axes.bar(range(len(score)), score.surprises, color=colors, width=0.8)
    axes.axhline(math.log(SYMBOLS), color=GREY, ls="--", lw=1.2)
    axes.text(25, math.log(SYMBOLS) + 0.12, "a blind guess", ha="center")
    axes.set_xticks(range(len(score)), [shown(s) for s in score.text], family="monospace", size=14)
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel="surprise, nats", xlim=(-0.7, len(score) - 0.3))
    keep("surprise")


def draw_temperature(model: LanguageModel, prompt: str) -> None:
    """What the model thinks comes next, at three temperatures."""
    best = model.session.most_probable(model.session.start(prompt), SYMBOLS)
    symbols, chances = zip(*best, strict=True)
    _, panels = plt.subplots(1, 3, figsize=(WIDTH, 3.5), layout="constrained", sharey=True)
    for axes, temperature, color in zip(panels, (0.5, 1.0, 1.5), (BLUE, GREEN, ORANGE), strict=True):
        powers = np.asarray(chances) ** (1 / temperature)
        axes.bar(range(8), (powers / powers.sum())[:8], color=color)
        axes.set_title(f"temperature {temperature:g}", size=13)
        axes.set_xticks(range(8), [shown(s) for s in symbols[:8]], family="monospace", size=14)
        axes.tick_params(axis="x", length=0)
    panels[0].set_ylabel(f"probability after {prompt!r}", size=12)
    keep("temperature")


def main() -> None:
    """Draw what can be drawn from what is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="the tutorial's run, of 3 epochs")
    parser.add_argument("--longer", type=Path, help="the same, gone on with to 20 epochs")
    typed = parser.parse_args()
    draw_windows()
    draw_one_hot(Vocabulary(CONFIG.keep or ""))
    draw_cell()
    draw_parameters()
    draw_targets()
    if typed.run:
        model = load(typed.run)
        draw_loss(typed.run)
        draw_temperature(model, "my lor")
        draw_surprise(model, "to be, or not to be, that is the question")
    if typed.longer:
        draw_overfitting(typed.longer)


if __name__ == "__main__":
    main()

"""What a person sees of a model that is judged: tables of scores, of copied passages, of contents."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxchar.console import visible

# ---- evaluation ----------------------------------------------------------------------------------


EVALUATION_ROWS = {
    "loss": "Loss (nats/char)",
    "bits_per_char": "Bits/char",
    "perplexity": "Perplexity",
    "accuracy": "Accuracy",
    "top5_accuracy": "Top-5 accuracy",
}


def evaluation_table(result: dict[str, Any]) -> None:
    """Show the figures of every split that ``jaxchar.evaluate`` scored, with their intervals."""
    console = Console(highlight=False)
    title = f"{result['checkpoint']}: {result['corpus']}, {result['protocol']}"
    console.print(title, markup=False, soft_wrap=True)
    table = Table("")
    for split in result["splits"]:
        table.add_column(split, justify="right")
    figures = result["splits"].values()
    table.add_row("Characters predicted", *(f"{of_split['predictions']:,}" for of_split in figures))
    for name, label in EVALUATION_ROWS.items():
        table.add_row(label, *(_with_interval(of_split, name) for of_split in figures))
    console.print(table)
    if any(result["unknown"].values()):
        replaced, left_out = (f"{result['unknown'][name]:,}" for name in ("replaced", "left_out"))
        console.print(f"Characters that the model lacks: {replaced} replaced, {left_out} left out")
    console.print(f"± {_interval_in_words(result['splits'])}", markup=False)
    for of_split in figures:
        for file in of_split.get("files", ()):
            console.print(f"Wrote {file}", markup=False, soft_wrap=True)


def _with_interval(figures: dict[str, Any], name: str) -> str:
    if figures["interval"] is None:
        return f"{figures[name]:.4f}"
    low, high = figures["interval"][name]
    return f"{figures[name]:.4f} ± {(high - low) / 2:.4f}"


def _interval_in_words(splits: dict[str, Any]) -> str:
    blocks = [
        f"{name}: {about['blocks']} blocks of {about['block_chars']:,}"
        for name, about in ((name, figures["interval"]) for name, figures in splits.items())
        if about
    ]
    if not blocks:
        return "needs more text"
    return (
        "is half the 95% confidence interval for text like this, from the means of blocks of consecutive "
        f"characters ({', '.join(blocks)}); for this text itself the figures are exact"
    )


# ---- memorisation --------------------------------------------------------------------------------

PASSAGE_SHOWN = 400  # characters of the longest copied passage


def memorization_table(result: dict[str, Any]) -> None:
    """Show what ``jaxchar.memorization`` found: shares by length, and the longest copied passages."""
    console = Console(highlight=False)
    text, held_out = result["text"], result["held_out"]
    console.print(
        f"{result['checkpoint']}: how much stands verbatim in the {result['training_chars']:,} characters "
        f"that it was trained on ({result['corpus']})",
        markup=False,
        soft_wrap=True,
    )
    columns = {Path(text["source"]).name: text} | ({"held-out text": held_out} if held_out else {})
    table = Table("Passages of")
    for heading, column in columns.items():
        table.add_column(f"{escape(visible(heading))}\n{column['characters']:,} characters", justify="right")
    for n in text["copied_share"]:
        shares = (column["copied_share"][n] for column in columns.values())
        table.add_row(f"{n} characters", *("" if share is None else f"{share:.2%}" for share in shares))
    lengths = (f"{column['longest']['length']:,} characters" for column in columns.values())
    table.add_section()
    table.add_row("the longest", *lengths)
    console.print(table)
    _show_longest(console, text["longest"])


def _show_longest(console: Console, longest: dict[str, Any]) -> None:
    passage = longest["passage"]
    more = f" (its first {PASSAGE_SHOWN})" if len(passage) > PASSAGE_SHOWN else ""
    console.print(
        f"The longest copied passage, {longest['length']:,} characters{more}: at "
        f"{longest['text_position']:,} in the text, at {longest['corpus_position']:,} in the corpus",
        soft_wrap=True,
    )
    console.print(visible(passage[:PASSAGE_SHOWN]), markup=False, soft_wrap=True, style="dim")


# ---- inspection ----------------------------------------------------------------------------------


def inspection(result: dict[str, Any]) -> None:
    """Show what ``jaxchar.inspect`` found: every checkpoint's soundness, one checkpoint's contents."""
    console = Console(highlight=False)

    def say(line: str, style: str = "") -> None:
        # A checkpoint may come from anywhere, with anything in its names.
        console.print(visible(line), style=style, markup=False, soft_wrap=True)

    shown = result["shown"]
    if shown is not None:
        _show_contents(console, say, shown)
        say("")
    for found in result["checkpoints"]:
        say(f"{found['path']}: {_soundness(found)}", "" if not found["damage"] else "bold red")


def _show_contents(console: Console, say: Callable[..., None], shown: dict[str, Any]) -> None:
    say(shown["path"], "bold")
    say(f"step {shown['step']:,}, epoch {shown['epoch']} (of {shown['steps_per_epoch']:,} steps each)")
    for heading in ("metrics", "last", "best"):
        say(f"{heading}: {_pairs(shown[heading]) or 'none'}")
    corpus = shown["corpus"]
    source = " ".join(corpus["source"])
    say(f"corpus: {source}, {corpus['characters']:,} characters, SHA-256 {corpus['sha256']}")
    symbols = "".join(shown["vocabulary"])
    say(f"vocabulary, {len(symbols)} symbols: {_symbols(symbols)}")
    for heading, record in (("versions", shown["versions"]), ("machine", shown["machine"])):
        say(f"{heading}: {_pairs(record)}")
    _show_settings(say, shown)
    _show_parameters(console, shown)
    for heading in ("optimizer_state", "weight_average", "carry"):
        size = shown[heading]
        said = (
            f"{size['arrays']} arrays, {size['numbers']:,} numbers, {_size(size['bytes'])}"
            if size
            else "none"
        )
        say(f"{heading.replace('_', ' ')}: {said}")


def _show_settings(say: Callable[..., None], shown: dict[str, Any]) -> None:
    """Show the settings by group: each that was changed on a line of its own, the others together."""
    settings, defaults = shown["config"], shown["changed"]
    for group, names in shown["groups"].items():
        say(f"{group} settings", "bold")
        for name in names:
            if name in defaults:
                say(f"  {name} = {settings[name]!r}  (default {defaults[name]!r})", "bold cyan")
        by_default = ", ".join(f"{name} {settings[name]!r}" for name in names if name not in defaults)
        say(f"  by default: {by_default or 'nothing'}", "dim")


def _show_parameters(console: Console, shown: dict[str, Any]) -> None:
    table = Table("Parameters", "Shape")
    table.add_column("Count", justify="right")
    for array in shown["parameters"]:
        table.add_row(array["name"], f"{array['dtype']} {array['shape']}", f"{math.prod(array['shape']):,}")
    table.add_section()
    for layer in shown["layers"]:
        table.add_row(layer["name"], layer["output_shape"], f"{layer['parameters']:,}")
    table.add_section()
    table.add_row("total", "", f"{sum(layer['parameters'] for layer in shown['layers']):,}")
    console.print(table, markup=False)


def _soundness(found: dict[str, Any]) -> str:
    held = f"{found['arrays']} arrays, {_size(found['bytes'])}"
    if not found["damage"]:
        return f"whole: {held}, all SHA-256 match, of the metadata too"
    damage = "; ".join(found["damage"])
    return f"DAMAGED, of {held}: {damage}" if found["metadata"] else f"DAMAGED: {damage}"


def _pairs(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _symbols(symbols: str) -> str:
    """Return a vocabulary with white space as symbols, too."""
    pictures = {" ": "\u2420", "\n": "\u240a", "\t": "\u2409"}
    return "".join(pictures.get(symbol, visible(symbol)) for symbol in symbols)


def _size(num_bytes: int) -> str:
    """Return a number of bytes in the unit that leaves few digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"

"""What evaluate, compare, memorization and inspect print: tables of scores, runs, passages and contents."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxchar.terminal.screen import can_draw, drawn, make_console, make_table, say
from jaxchar.terminal.visible import visible

# ---- evaluation ----------------------------------------------------------------------------------


EVALUATION_ROWS = {
    "loss": "Loss (nats/char)",
    "bits_per_char": "Bits/char",
    "perplexity": "Perplexity",
    "accuracy": "Accuracy",
    "top5_accuracy": "Top-5 accuracy",
}


MEMORY_ROWS = {
    "static": "Loss with its memory of the training text",
    "growing": "Loss with a memory that grows as it reads",
}
DYNAMIC_ROWS = {
    "static": "Learning as it reads, with its memory",
    "growing": "Learning as it reads, with a growing memory",
}


def evaluation_table(result: dict[str, Any]) -> None:
    """Print the figures of every split that ``jaxchar.evaluate`` scored, with their intervals."""
    console = make_console()
    plus_minus = "±" if can_draw(console.file) else "+/-"
    title = f"{result['checkpoint']}: {result['corpus']}, {result['protocol']}"
    say(console, title)
    table = make_table(console, "")
    for split in result["splits"]:
        table.add_column(split, justify="right", overflow="fold")
    figures = result["splits"].values()
    table.add_row("Characters predicted", *(f"{of_split['predictions']:,}" for of_split in figures))
    for name, label in EVALUATION_ROWS.items():
        table.add_row(label, *(_with_interval(of_split, name, plus_minus) for of_split in figures))
    for label, losses in _other_losses(list(figures)):
        if any(losses):
            table.add_row(label, *(_loss_with_memory(loss, plus_minus) for loss in losses))
    say(console, drawn(table, console))
    if any(result["unknown"].values()):
        replaced, left_out = (f"{result['unknown'][name]:,}" for name in ("replaced", "left_out"))
        console.print(f"Characters that the model lacks: {replaced} replaced, {left_out} left out")
    console.print(f"{plus_minus} {_interval_in_words(result['splits'])}")
    for of_split in figures:
        for file in of_split.get("files", ()):
            say(console, f"Wrote {file}")


def _other_losses(figures: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any] | None]]]:
    """Yield, beside the network's own, what a loss is called and what it is for every split that has it."""
    for counting, label in MEMORY_ROWS.items():
        yield label, [of_split.get("memory", {}).get(counting) for of_split in figures]
    dynamic = [of_split.get("dynamic") for of_split in figures]
    yield (
        "Loss if the network learns as it reads",
        [each and {**each, "interval": (each["interval"] or {}).get("loss")} for each in dynamic],
    )
    for counting, label in DYNAMIC_ROWS.items():
        yield label, [each and each["memory"].get(counting) for each in dynamic]


def _with_interval(figures: dict[str, Any], name: str, plus_minus: str) -> str:
    ends = None if figures["interval"] is None else figures["interval"][name]
    return _figure(figures[name], ends, plus_minus)


def _loss_with_memory(loss: dict[str, Any] | None, plus_minus: str) -> str:
    return "" if loss is None else _figure(loss["loss"], loss["interval"], plus_minus)


def _figure(value: float, ends: list[float] | None, plus_minus: str) -> str:
    return f"{value:.4f}" if ends is None else f"{value:.4f} {plus_minus} {(ends[1] - ends[0]) / 2:.4f}"


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


# ---- comparison ----------------------------------------------------------------------------------


def comparison_table(result: dict[str, Any], picture: str | None) -> None:
    """Print what ``jaxchar.compare`` found, a row a run, and where a picture was drawn.

    Settings that differ stand below the table, a line a run: there may be more of them than columns fit.
    """
    console = make_console()
    table = make_table(console, "Run")
    for heading in ("Best validation loss", "at step", "Steps", "Seconds", "Parameters"):
        table.add_column(heading, justify="right", overflow="fold")
    for run in result["runs"]:
        loss, step, parameters = run["best_val_loss"], run["best_step"], run["parameters"]
        table.add_row(
            visible(run["run"]),
            "" if loss is None else f"{loss:.4f}",
            "" if step is None else f"{step:,}",
            f"{run['steps']:,}",
            f"{run['seconds']:,.1f}",
            "" if parameters is None else f"{parameters:,}",
        )
    say(console, drawn(table, console))
    for run in result["runs"] if result["differing"] else ():
        settings = {name: _setting(run["settings"][name]) for name in result["differing"]}
        say(console, f"{run['run']}: {_pairs(settings)}")
    if not result["same_text"]:
        say(
            console,
            "These runs were not all judged on the same text in the same way: their losses do not compare.",
        )
    if picture is not None:
        say(console, f"Wrote {picture}")


def _setting(value: Any) -> str:
    """Return the value of a setting as one types it."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# ---- memorisation --------------------------------------------------------------------------------

PASSAGE_SHOWN = 400  # characters of the longest copied passage


def memorization_table(result: dict[str, Any]) -> None:
    """Print what ``jaxchar.memorization`` found: shares by length, and the longest copied passage."""
    console = make_console()
    text, held_out = result["text"], result["held_out"]
    say(
        console,
        f"{result['checkpoint']}: how much appears verbatim in the {result['training_chars']:,} characters "
        f"that it was trained on ({result['corpus']})",
    )
    columns = {Path(text["source"]).name: text} | ({"held-out text": held_out} if held_out else {})
    table = make_table(console, "Passages of")
    for heading, column in columns.items():
        title = f"{visible(heading)}\n{column['characters']:,} characters"
        table.add_column(title, justify="right", overflow="fold")
    for n in text["copied_share"]:
        shares = (column["copied_share"][n] for column in columns.values())
        table.add_row(f"{n} characters", *("" if share is None else f"{share:.2%}" for share in shares))
    lengths = (f"{column['longest']['length']:,} characters" for column in columns.values())
    table.add_section()
    table.add_row("the longest", *lengths)
    say(console, drawn(table, console))
    _show_longest(console, text["longest"])


def _show_longest(console: Console, longest: dict[str, Any]) -> None:
    passage = longest["passage"]
    more = f" (its first {PASSAGE_SHOWN})" if len(passage) > PASSAGE_SHOWN else ""
    say(
        console,
        f"The longest copied passage, {longest['length']:,} characters{more}: at "
        f"{longest['text_position']:,} in the text, at {longest['corpus_position']:,} in the corpus",
    )
    say(console, passage[:PASSAGE_SHOWN], "dim")


# ---- inspection ----------------------------------------------------------------------------------


def inspection(result: dict[str, Any]) -> None:
    """Print what ``jaxchar.inspect`` found: whether each checkpoint is whole, and what one contains."""
    console = make_console()
    shown = result["shown"]
    if shown is not None:
        _show_contents(console, shown)
        say(console, "")
    for found in result["checkpoints"]:
        say(console, f"{found['path']}: {_soundness(found)}", "" if not found["damage"] else "bold red")


def _show_contents(console: Console, shown: dict[str, Any]) -> None:
    say(console, shown["path"], "bold")
    say(
        console,
        f"step {shown['step']:,}, epoch {shown['epoch']} (of {shown['steps_per_epoch']:,} steps each)",
    )
    for heading in ("metrics", "last", "best"):
        say(console, f"{heading}: {_pairs(shown[heading]) or 'none'}")
    corpus = shown["corpus"]
    source = " ".join(corpus["source"])
    if "imported" in corpus:
        source = f"unknown; imported from {source} ({corpus['imported']})"
    read_as = f", read as {corpus['encoding']}" if "encoding" in corpus else ""
    say(
        console, f"corpus: {source}, {corpus['characters']:,} characters{read_as}, SHA-256 {corpus['sha256']}"
    )
    symbols = "".join(shown["vocabulary"])
    say(console, f"vocabulary, {len(symbols)} symbols: {_symbols(symbols)}")
    for heading, record in (("versions", shown["versions"]), ("machine", shown["machine"])):
        say(console, f"{heading}: {_pairs(record)}")
    _show_settings(console, shown)
    _show_parameters(console, shown)
    for heading in ("optimizer_state", "weight_average", "carry"):
        size = shown[heading]
        said = (
            f"{size['arrays']} arrays, {size['numbers']:,} numbers, {_size(size['bytes'])}"
            if size
            else "none"
        )
        say(console, f"{heading.replace('_', ' ')}: {said}")
    memory = shown["memory"]
    said = f"the training text, {memory['numbers']:,} characters" if memory else "none"
    say(console, f"memory: {said}")


def _show_settings(console: Console, shown: dict[str, Any]) -> None:
    """Print the settings by group: each changed one on its own line, the others together."""
    settings, defaults = shown["config"], shown["changed"]
    for group, names in shown["groups"].items():
        say(console, f"{group} settings", "bold")
        for name in names:
            if name in defaults:
                said = f"  {name} = {settings[name]!r}  (default {defaults[name]!r})"
                say(console, said, "bold cyan")
        by_default = ", ".join(f"{name} {settings[name]!r}" for name in names if name not in defaults)
        say(console, f"  by default: {by_default or 'nothing'}", "dim")


def _show_parameters(console: Console, shown: dict[str, Any]) -> None:
    table = make_table(console, "Parameters", "Shape")
    table.add_column("Count", justify="right", overflow="fold")
    for array in shown["parameters"]:
        table.add_row(
            visible(array["name"]), f"{array['dtype']} {array['shape']}", f"{math.prod(array['shape']):,}"
        )
    table.add_section()
    for layer in shown["layers"]:
        table.add_row(layer["name"], layer["output_shape"], f"{layer['parameters']:,}")
    table.add_section()
    table.add_row("total", "", f"{sum(layer['parameters'] for layer in shown['layers']):,}")
    say(console, drawn(table, console))


def _soundness(found: dict[str, Any]) -> str:
    held = f"{found['arrays']} arrays, {_size(found['bytes'])}"
    if not found["damage"]:
        return f"whole: {held}, all SHA-256 match, of the metadata too"
    damage = "; ".join(found["damage"])
    return f"DAMAGED, of {held}: {damage}" if found["metadata"] else f"DAMAGED: {damage}"


def _pairs(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _symbols(symbols: str) -> str:
    """Return a vocabulary with white space as symbols."""
    pictures = {" ": "\u2420", "\n": "\u240a", "\t": "\u2409"}
    return "".join(pictures.get(symbol, visible(symbol)) for symbol in symbols)


def _size(num_bytes: int) -> str:
    """Return a number of bytes in the unit with the fewest digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"

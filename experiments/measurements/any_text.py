"""How well any text is learned in a given time, beside what else could be done with it.

    python experiments/measurements/any_text.py TEXT [TEXT ...] --minutes 3 15 --seeds 3
    python experiments/measurements/any_text.py TEXT --systems recipe config char_rnn torch_rnn ppmd

Every training is a process of its own, as a user starts it; its seconds are those of the whole command. The
loss is in nats per character of the last tenth of the text, of the best checkpoint. A line of JSON for each
result goes to --out, so that a table can be made of many calls: `--table` prints it.

    recipe      python -m jaxchar.train TEXT --minutes M
    config      the settings of jaxchar.Config(), which know nothing of the text
    char_rnn    experiments/char_rnn.py, the defaults of char-rnn, stopped when the time is up
    torch_rnn   the defaults of torch-rnn, likewise
    ppmd        the file compressor PPMd at its best order (needs the package pyppmd)
    bzip2       the file compressor bzip2, as in the last line that a run prints
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jaxchar.data.vocabulary import Vocabulary
from jaxchar.scoring.reference_losses import reference_losses
from jaxchar.training.plot import drawn

PPMD_ORDERS = (2, 3, 4, 5, 6, 8, 12)
CONFIG = "from jaxchar.config import Config; from jaxchar.train import main; main(Config(), 'config')"
TORCH_RNN = (
    "from jaxchar.config import Config; from jaxchar.train import main; main(Config(batch_size=50, "
    "seq_len=50, cell='lstm', hidden_size=128, num_layers=2, embedding_size=64, optimizer='adam', "
    "learning_rate=2e-3, schedule='step', decay_every=5, decay_rate=0.5, "
    "clip_value=5.0, epochs=50), 'torch_rnn')"
)


def train(text: Path, system: str, minutes: float, seed: int) -> dict[str, Any]:
    """Train as a user would, and return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        common = [f"--run-dir={run}", f"--seed={seed}"]
        other = [f"--corpus={text}", "--sample-length=0"]
        commands = {
            "recipe": ["-m", "jaxchar.train", str(text), f"--minutes={minutes}"],
            "config": ["-c", CONFIG, *other],
            "char_rnn": ["experiments/char_rnn.py", *other],
            "torch_rnn": ["-c", TORCH_RNN, *other],
        }
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *commands[system], *common], stdout=subprocess.DEVNULL)
        try:
            process.wait(None if system == "recipe" else 60 * minutes)
        except subprocess.TimeoutExpired:
            process.terminate()  # saves, and sums up
            process.wait()
        seconds = time.perf_counter() - began
        if not (run / "summary.json").exists():
            return {"loss": math.nan, "seconds": seconds}
        summary = json.loads((run / "summary.json").read_text())
        config = json.loads((run / "config.json").read_text())
        names = (
            "cell",
            "hidden_size",
            "batch_size",
            "seq_len",
            "dropout",
            "recurrent_dropout",
            "weight_dropout",
        )
        return {
            "loss": summary["best_val_loss"] or math.nan,
            "seconds": seconds,
            "passes": summary["epochs"],
            "parameters": summary["parameters"],
            "settings": {name: config[name] for name in names},
        }


def ppmd(text: Path) -> dict[str, Any]:
    """Return what the last tenth adds to the size of a compressed file, as nats per character."""
    import pyppmd

    began = time.perf_counter()
    content = text.read_bytes().decode("utf-8-sig")
    before = content[: len(content) - round(0.1 * len(content))]

    def size(part: str, order: int) -> int:
        return len(pyppmd.compress(part.encode(), max_order=order, mem_size=1 << 28, variant="H"))

    added = min(size(content, order) - size(before, order) for order in PPMD_ORDERS)
    loss = 8 * added * math.log(2) / (len(content) - len(before))
    return {"loss": loss, "seconds": time.perf_counter() - began}


def bzip2(text: Path) -> dict[str, Any]:
    """Return what a run says in its last line of the compressor that everybody has."""
    began = time.perf_counter()
    content = text.read_bytes().decode("utf-8-sig")
    vocabulary = Vocabulary(content)
    ids = vocabulary.encode(content)
    held_out = round(0.1 * len(ids))
    found = reference_losses(ids[:-held_out], ids[-held_out:], vocabulary.symbols)
    return {"loss": found.bzip2 * math.log(2), "seconds": time.perf_counter() - began}


COMPRESSORS = {"ppmd": ppmd, "bzip2": bzip2}


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table: medians over seeds, the range of the seeds behind them."""
    rows: dict[tuple[str, float], dict[str, list[dict[str, Any]]]] = {}
    for result in results:
        row = rows.setdefault((result["text"], result["minutes"]), {})
        row.setdefault(result["system"], []).append(result)
    systems = sorted({result["system"] for result in results}, key=list(SYSTEMS).index)
    lines = [f"| text | minutes | {' | '.join(systems)} |", "| --- | --- |" + " --- |" * len(systems)]
    for (text, minutes), row in sorted(rows.items()):
        cells = [_cell(row.get(system, [])) for system in systems]
        lines.append(f"| {text} | {minutes:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: list[dict[str, Any]], picture: Path) -> None:
    """Draw what each system makes of each text in the shortest time that was measured, as bars."""
    shortest = min(result["minutes"] for result in results)
    medians = {
        (result["text"], result["system"]): statistics.median(
            other["loss"]
            for other in results
            if (other["text"], other["system"]) == (result["text"], result["system"])
        )
        for result in results
        if result["minutes"] == shortest
    }
    texts = list(dict.fromkeys(text for text, _ in medians))
    systems = [system for system in SYSTEMS if any(system == other for _, other in medians)]
    width = 0.8 / len(systems)
    with drawn(picture, (8.5, 4)) as (_, axes):
        for number, system in enumerate(systems):
            losses = [medians.get((text, system), math.nan) for text in texts]
            places = [place + (number - (len(systems) - 1) / 2) * width for place in range(len(texts))]
            bars = axes.bar(places, losses, width, label=LABELS[system])
            axes.bar_label(bars, fmt="%.2f", fontsize=7)
        axes.set_xticks(range(len(texts)), [text.replace(", ", ",\n") for text in texts], fontsize=8)
        axes.set_ylabel("nats per character of the last tenth (less is better)")
        axes.set_title(f"Texts of many sizes, {shortest:g} minutes each, two cores")
        axes.legend(fontsize=8)


def _cell(results: list[dict[str, Any]]) -> str:
    if not results:
        return "-"
    losses = sorted(result["loss"] for result in results)
    spread = f" ({losses[0]:.3f} to {losses[-1]:.3f})" if len(losses) > 1 else ""
    seconds = statistics.median(result["seconds"] for result in results)
    return f"{statistics.median(losses):.3f}{spread}, {seconds:.0f} s"


SYSTEMS = ("recipe", "ppmd", "bzip2", "config", "char_rnn", "torch_rnn")
LABELS = {
    "recipe": "jaxchar train TEXT",
    "ppmd": "PPMd, a file compressor",
    "bzip2": "bzip2, a file compressor",
    "config": "jaxchar.Config()",
    "char_rnn": "char-rnn's settings",
    "torch_rnn": "torch-rnn's settings",
}


def main() -> None:
    """Measure what is asked for, one training after the other; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["recipe"])
    parser.add_argument("--minutes", nargs="+", type=float, default=[3.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("any_text.jsonl"))
    parser.add_argument("--plot", type=Path, help="a picture of what is in --out")
    parser.add_argument("--table", action="store_true", help="only print the table of --out")
    typed = parser.parse_args()
    for text in [] if typed.table else typed.texts:
        for minutes in typed.minutes:
            for system in typed.systems:
                for seed in range(1 if system in COMPRESSORS else typed.seeds):
                    compress = COMPRESSORS.get(system)
                    found = compress(text) if compress else train(text, system, minutes, seed)
                    result = {"text": text.stem, "system": system, "minutes": minutes, "seed": seed, **found}
                    print(json.dumps(result), flush=True)
                    with typed.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(result) + "\n")
    results = [json.loads(line) for line in typed.out.read_text(encoding="utf-8").splitlines()]
    print(table(results))
    if typed.plot is not None:
        plot(results, typed.plot)


if __name__ == "__main__":
    main()

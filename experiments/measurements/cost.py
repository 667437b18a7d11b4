"""What it costs as the work grows: text, step, extras; a table each.

    python experiments/measurements/cost.py text     # characters in the corpus: seconds and memory of each
    python experiments/measurements/cost.py step     # T, H, B against the number of operations
    python experiments/measurements/cost.py start    # from the command to the first step, cold and warm
    python experiments/measurements/cost.py sample RUN    # from the command to the first character
    python experiments/measurements/cost.py seeds    # runs that differ in their seed, in one process
    python experiments/measurements/cost.py extras   # logging, checkpoints, evaluation against the bare loop

Compiling is left out but in `start` and `seeds`. Rounds take turns, so that what else the machine does hits
all alike.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxchar
from experiments.words_generator import CONFIG as WORDS_GENERATOR
from jaxchar.config import Config
from jaxchar.data.dataset import load_dataset
from jaxchar.progress.display import TrainingDisplay
from jaxchar.training.step import make_program
from jaxchar.training.trainer import Trainer

ROUNDS = 5
MEGABYTE = 1_000_000


def show(title: str, headings: tuple[str, ...], rows: list[tuple]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


class Loop:
    """A compiled training loop that can be run for some steps and timed."""

    def __init__(self, config: Config, ids: jax.Array, vocab_size: int) -> None:
        """Compile, and run the first steps, which are not timed."""
        program = make_program(config, vocab_size, len(ids))
        self.ids, self.state, self.step = ids, program.initial_state(), 0
        self.run = program.compiled_for(self.state, ids)
        self.seconds(3)

    def seconds(self, steps: int) -> float:
        """Return the seconds a step."""
        self.step += steps
        began = time.perf_counter()
        self.state, _ = jax.block_until_ready(
            self.run(self.state, self.ids, np.int32(self.step), np.uint32(0))
        )
        return (time.perf_counter() - began) / steps


# ---- text ----------------------------------------------------------------------------------------


def text() -> None:
    """Train on 1, 10 and 100 MB, each in a process of its own, all at once but one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [_reader_of(Path(folder), megabytes) for megabytes in (1, 10, 100)]
        rows = [json.loads(_answer(process)) for process in processes]
        rounds = [[float(_answer(process, "go")) for process in processes] for _ in range(ROUNDS)]
        for process in processes:
            process.stdin.close()
    for row, times in zip(rows, zip(*rounds, strict=True), strict=True):
        row.append(f"{statistics.median(times):.1f}")
    headings = ("characters", "MB resident", "MB at the peak", "seconds to load", "ns a character")
    show("words_generator on more and more text", headings, rows)


def _reader_of(folder: Path, megabytes: int) -> subprocess.Popen:
    file = folder / f"{megabytes}.txt"
    letters = np.frombuffer(b"etaoin shrdlu\n", np.uint8)
    file.write_bytes(np.random.default_rng(0).choice(letters, megabytes * MEGABYTE).tobytes())
    command = [sys.executable, __file__, "reader", str(file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _answer(process: subprocess.Popen, question: str | None = None) -> str:
    if question is not None:
        print(question, file=process.stdin, flush=True)
    return process.stdout.readline()


def reader(file: str) -> None:
    """Load a text and say what that took; then train some steps whenever asked to, and say how fast."""
    began = time.perf_counter()
    config = WORDS_GENERATOR.replace(corpus=file, val_fraction=0.0, max_windows=None, batch_size=128)
    dataset = load_dataset(config)
    loading = time.perf_counter() - began
    loop = Loop(config, dataset.splits["train"], len(dataset.vocabulary))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, peak = (int(status[name].split()[0]) * 1024 / MEGABYTE for name in ("VmRSS", "VmHWM"))
    facts = [f"{dataset.identity.characters:,}", f"{resident:.0f}", f"{peak:.0f}", f"{loading:.1f}"]
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        seconds = loop.seconds(60)
        print(1e9 * seconds / (config.batch_size * config.seq_len), flush=True)


# ---- step ----------------------------------------------------------------------------------------


def step() -> None:
    """Time a step of an LSTM over T, H and B, one of them doubled at a time."""
    sizes = [(64, 256, 32), (32, 256, 32), (128, 256, 32), (256, 256, 32)]
    sizes += [(64, 128, 32), (64, 512, 32), (64, 1024, 32), (64, 256, 16), (64, 256, 64), (64, 256, 128)]
    ids = jax.numpy.asarray(np.random.default_rng(0).integers(0, 65, 500_000).astype(np.uint8))
    loops = [Loop(Config(seq_len=T, hidden_size=H, batch_size=B), ids, 65) for T, H, B in sizes]
    rounds = [[loop.seconds(2) for loop in loops] for _ in range(ROUNDS)]
    rows = []
    for (T, H, B), times in zip(sizes, zip(*rounds, strict=True), strict=True):
        seconds, operations = statistics.median(times), 3 * 2 * T * B * (4 * H * H + 65 * H)
        figures = (f"{operations / 1e9:.2f}", f"{1e3 * seconds:.1f}", f"{operations / seconds / 1e9:.0f}")
        rows.append((T, H, B, *figures))
    show("one LSTM layer, one device", ("T", "H", "B", "billion operations", "ms", "GFLOP/s"), rows)


# ---- start ---------------------------------------------------------------------------------------


def start() -> None:
    """Time a training of a single step as a whole process, with nothing compiled before, and again."""
    command = [sys.executable, "experiments/words_generator.py", "--max-steps", "1", "--val-fraction", "0"]
    command += ["--sample-length", "0", "--run-dir"]
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
            for name, times in seconds.items():
                began = time.perf_counter()
                run_dir = str(Path(folder) / name / "run")
                subprocess.run(
                    [*command, run_dir], env=os.environ | cache, check=True, stdout=subprocess.DEVNULL
                )
                times.append(time.perf_counter() - began)
    rows = [(name, f"{statistics.median(times):.1f}") for name, times in seconds.items()]
    show("words_generator: a process that trains one step", ("what was compiled", "seconds"), rows)


# ---- sample --------------------------------------------------------------------------------------


def sample(run: str) -> None:
    """Time a sample of 200 characters as a whole process, with everything compiled before."""
    command = [sys.executable, "-m", "jaxchar.sample", "--ckpt", run, "--length", "200", "--seed", "1"]
    firsts, ends = [], []
    for number in range(ROUNDS + 1):
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            read = b""
            while len(read) < 2:  # the first one is the prompt, a line break
                read += os.read(process.stdout.fileno(), 1 << 16)
            first = time.perf_counter() - began
            process.stdout.read()
        if number:  # the first round compiles
            firsts.append(first)
            ends.append(time.perf_counter() - began)
    rows = [
        (name, f"{statistics.median(times):.2f}", f"{max(times):.2f}")
        for name, times in (("to the first character", firsts), ("to the end of the process", ends))
    ]
    show("a sample of 200 characters", ("what", "seconds, median", "largest"), rows)


# ---- seeds ---------------------------------------------------------------------------------------


def seeds() -> None:
    """Time whole runs that differ in their seed alone, with nothing compiled before the first."""
    text = Config(corpus="python", max_chars=20_000, epochs=1, batch_size=16, sample_length=0)
    config = text.replace(cell="gru", hidden_size=128, optimizer="muon")
    display, times = TrainingDisplay(Console(quiet=True)), []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAXCHAR_COMPILED"] = folder
        for seed in range(ROUNDS + 1):
            began = time.perf_counter()
            jaxchar.fit(config.replace(seed=seed), Path(folder) / f"run{seed}", display=display)
            times.append(time.perf_counter() - began)
    rows = [
        ("the first, C++ built", f"{times[0]:.1f}"),
        ("each other", f"{statistics.median(times[1:]):.2f}"),
    ]
    show("runs that differ in their seed", ("which", "seconds"), rows)


# ---- extras --------------------------------------------------------------------------------------


def extras() -> None:
    """Time the words generator's loop bare, with logs and a checkpoint, and with evaluation besides.

    Two loops differ by more than what is sought, on a machine that is shared; so the time that a run spends
    outside of its training calls is told, too.
    """
    steps = 1_500
    usual = WORDS_GENERATOR.replace(max_steps=steps, sample_length=0)
    kinds = {
        "one call, nothing else": None,
        "logs, progress, one checkpoint": usual.replace(val_fraction=0.0),
        "and one evaluation of 57,163 windows": usual,
    }
    dataset = load_dataset(usual)
    bare = Loop(usual, dataset.splits["train"], len(dataset.vocabulary))
    rounds = [
        [
            (bare.seconds(steps) * steps, 0.0) if config is None else _loop_seconds(config)
            for config in kinds.values()
        ]
        for _ in range(ROUNDS)
    ]
    rows = []
    for name, found in zip(kinds, zip(*rounds, strict=True), strict=True):
        whole, outside = zip(*found, strict=True)
        share = statistics.median(
            out / (all_of_it - out) for all_of_it, out in zip(whole, outside, strict=True)
        )
        rows.append((name, f"{statistics.median(whole):.2f}", f"{share:.1%}"))
    show(f"{steps:,} steps of words_generator", ("what", "seconds", "outside of training calls"), rows)


def _loop_seconds(config: Config) -> tuple[float, float]:
    """Return the seconds from the first step to the last checkpoint on disk, and those out of training."""
    began = []
    compiled = Trainer._compiled

    def then_begin(trainer: Trainer) -> jax.stages.Compiled:
        program = compiled(trainer)
        began.append(time.perf_counter())
        return program

    Trainer._compiled = then_begin
    with tempfile.TemporaryDirectory() as folder:
        run = jaxchar.fit(config, Path(folder) / "run", display=TrainingDisplay(Console(quiet=True)))
        whole = time.perf_counter() - began[0]
    Trainer._compiled = compiled
    return whole, whole - run.summary["seconds"]


if __name__ == "__main__":
    tables = (text, reader, step, start, sample, seeds, extras)
    {table.__name__: table for table in tables}[sys.argv[1]](*sys.argv[2:])

"""The short help: what a command does, examples, and the most used options, on one screen.

``--help-all`` has every option.
"""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

INDENT = 26  # of an option's meaning
WIDEST = 80


class ShortHelp(NamedTuple):
    """The help of one command."""

    takes: str  # what follows the command in the usage line
    does: str
    examples: Mapping[str, str]  # what follows the command, and what it does
    options: Mapping[str, str]


MORE = {"--help-all": "every setting, its meaning and its default"}
RUN = {"[RUN]": "a run's folder, or one checkpoint's (default: the newest run in runs/)"}
WHICH = {"--which best|last": "which checkpoint of the run (default: best, if it was validated)"}

SHORT_HELP = {
    "train": ShortHelp(
        "[TEXT ...] [OPTIONS]",
        "Train a character-level language model. What you do not set is chosen for the text.",
        {
            "my_novel.txt": "train; the run is saved in runs/",
            "my_novel.txt --minutes 20": "take 20 minutes in total",
            "my_novel.txt --plan": "print what would be done, and stop",
            "'poems/*.txt' --run-dir runs/poems": "several files as one text",
            "--run-dir runs/poems --resume": "continue a run",
        },
        {
            "[TEXT ...]": 'text files, folders or globs; "-" is standard input',
            "--minutes NUMBER": "how long it may take in total",
            "--plan": "print what would be done, and stop",
            "--run-dir FOLDER": "where the run is saved (default: a new folder in runs/)",
            "--resume": "continue the run in --run-dir where it stopped",
            "--init-from RUN": "start from the weights of another run",
            "--epochs N": "passes over the whole text",
            "--cell lstm|gru|rnn": "the kind of network",
            "--hidden-size N": "units per layer: more of them learn more, but take longer",
            "--num-layers N": "number of layers",
            "--seq-len N": "length of a training sequence, in characters",
            "--batch-size N": "sequences per training step",
            "--learning-rate NUMBER": "size of each step",
            "--dropout NUMBER": "from 0 to below 1; more of it prevents overfitting on a short text",
            "--seed N": "another number gives another model",
            "--seeds N": "train so many models with other seeds, and compare their losses",
            **MORE,
        },
    ),
    "sample": ShortHelp(
        "[RUN] [OPTIONS]",
        "Write text with a trained model. Text goes to standard output, everything else to standard error.",
        {
            "": "write with the newest run",
            'runs/mine --prompt "ROMEO:"': "continue a prompt",
            "--length 2000 --temperature 0.7": "a longer text, with fewer surprises",
            "--num-samples 3 --seed 1": "three texts, the same ones every time",
            "--interactive": "type prompts, pick characters, undo, save",
        },
        {
            **RUN,
            "--prompt TEXT": "the text to continue",
            "--prompt-file FILE": "the same from a file; - is standard input",
            "--length N": "characters to write (default: 500)",
            "--temperature NUMBER": "below 1 safer, above 1 wilder (default: 1); several: one text for each",
            "--top-p NUMBER": "leave out unlikely characters: 0.9 keeps the likeliest 90% (default: 1)",
            "--memory NUMBER": "0: the network alone; 1: also what it counted in its text (default: 1)",
            "--adapt FILE ...": "let it read another text first",
            "--num-samples N": "texts to write (default: 1)",
            "--stop TEXT": "end when this text appears",
            "--seed N": "the same seed writes the same text",
            "--interactive": "an interactive session",
            **WHICH,
            **MORE,
        },
    ),
    "evaluate": ShortHelp(
        "[RUN] [OPTIONS]",
        "Score a trained model on the text that it was trained on, split by split, or on any other text.",
        {
            "": "score the newest run",
            "runs/mine --split validation": "the part that was held out from training",
            "runs/mine --corpus other.txt": "another text",
            "runs/mine --json": "figures for a program",
        },
        {
            **RUN,
            "--corpus FILE ...": "score another text, whole",
            "--split NAME": "all, train, validation or test (default: all)",
            "--protocol NAME": "stateful, blocks or windows (default: as the run was evaluated)",
            "--memory NAME": "none, static or growing: figures beside the network's (default: growing)",
            "--dynamic": "also score a network that goes on learning as it reads",
            "--per-character FOLDER": "also write how surprising each character is, as CSV and HTML",
            "--json": "print one JSON object",
            **WHICH,
            **MORE,
        },
    ),
    "import": ShortHelp(
        "FILE [OPTIONS]",
        "Make a run of a model of Keras or PyTorch, to sample and score it and to train it further. What the "
        "file does not say is given by options.",
        {
            "m.h5 --vocabulary chars.json": "Keras 1 or 2; also .keras",
            "m.safetensors --vocabulary chars.txt": "PyTorch; also .pt",
            "w.h5 --vocabulary d.pkl --gate sigmoid": "weights alone",
        },
        {
            "FILE": "HDF5, .keras, .weights.h5, .safetensors or .pt",
            "--vocabulary FILE": "the characters in the order of their ids: JSON, a text file, or a pickle "
            "of plain containers",
            "--run-dir FOLDER": "where the run is made (default: a new folder in runs/)",
            "--gate sigmoid|hard_sigmoid": "the gate function, if the file has weights alone",
            "--batching streams|windows": "how it reads text (default: as the file says, or streams)",
            "--seq-len N": "characters of a window, if the file does not say it",
            "--return-sequences False": "only the last character of a window predicts",
            "--lowercase True|False": "lower-case texts (default: if it knows no capital letters)",
            "--fill CHARACTER": "stands for every character that the model lacks",
            **MORE,
        },
    ),
    "export": ShortHelp(
        "RUN FILE [OPTIONS]",
        "Write a trained model for other programs, with config.json, vocabulary.json and a model card beside "
        "it. The suffix of FILE is the format.",
        {
            "runs/mine mine.safetensors": "jaxchar, PyTorch, Hugging Face",
            "runs/mine mine.keras": "Keras 3",
            "runs/mine mine.pt": "a state dictionary of PyTorch",
            "runs/mine mine.onnx": "ONNX",
        },
        {
            "RUN": "a run's folder, or one checkpoint's",
            "FILE": "the file to write; a folder gets model.safetensors",
            "--overwrite": "replace files that are there",
            **WHICH,
            **MORE,
        },
    ),
    "play": ShortHelp(
        "[RUN ...] [OPTIONS]",
        "See a model write, and what its units see, in a page on this machine. Ctrl-C ends it.",
        {
            "": "show the newest run",
            "runs/mine runs/other": "two of them",
            "runs": "all runs in a folder",
            "--port 9000 --no-browser": "print the address only",
        },
        {
            "[RUN ...]": "run folders, or folders that hold some (default: the newest run in runs/)",
            "--port N": "of the page (default: 8400, or a free one)",
            "--no-browser": "do not open the page",
            "--host ADDRESS": "let other machines in; the address then has a token",
            **MORE,
        },
    ),
    "compare": ShortHelp(
        "[RUN ...] [OPTIONS]",
        "Compare runs: the settings in which they differ, steps, time, best loss and size.",
        {
            "": "all runs in runs/",
            "runs/a runs/b": "two of them",
            "runs/* --out losses.png": "with a picture of their losses",
            "runs/* --json": "figures for a program",
        },
        {
            "[RUN ...]": "run folders, or folders that hold some (default: all in runs/)",
            "--out FILE": "a PNG file to draw the losses of all runs into",
            "--json": "print one JSON object",
            **MORE,
        },
    ),
}


def show_short_help(command: str, arguments: Sequence[str], called: str, does: str | None = None) -> bool:
    """Print a command's short help if the command line asks for it; return whether it was printed.

    Args:
        command: the command's name.
        arguments: the command line.
        called: how the user starts the command.
        does: what it does, if that differs from what the command always does.
    """
    if command not in SHORT_HELP or not {"-h", "--help"} & set(arguments):
        return False
    print(short_help(SHORT_HELP[command], called, does))
    return True


def short_help(of: ShortHelp, called: str, does: str | None = None) -> str:
    """Return the short help of a command as lines that fit the terminal."""
    examples = {f"{called} {arguments}".strip(): what for arguments, what in of.examples.items()}
    lines = [
        f"usage: {called} {of.takes}",
        "",
        *textwrap.wrap(does or of.does, terminal_width()),
        "",
        "examples:",
        *_examples(examples),
        "",
        "options:",
        *listed(of.options, INDENT),
    ]
    return "\n".join(lines)


def terminal_width() -> int:
    """Return the width of help, in columns."""
    return max(40, min(WIDEST, shutil.get_terminal_size().columns))


def _examples(examples: Mapping[str, str]) -> list[str]:
    """Return examples with their meanings beside them, or below them if there is no space."""
    indent = max(map(len, examples)) + 4
    if max(indent + len(meaning) for meaning in examples.values()) <= terminal_width():
        return listed(examples, indent)
    return [line for entry, meaning in examples.items() for line in (f"  {entry}", f"      {meaning}")]


def listed(entries: Mapping[str, str], indent: int) -> list[str]:
    """Return entries and their meanings in two columns; a long entry has its own line."""
    lines = []
    for entry, meaning in entries.items():
        first, *others = textwrap.wrap(meaning, terminal_width() - indent)
        begun = f"  {entry}".ljust(indent)
        if len(begun) > indent or not begun.endswith(" "):
            lines.append(begun)
            begun = " " * indent
        lines += [begun + first, *(" " * indent + line for line in others)]
    return lines

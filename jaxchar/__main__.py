"""The command ``jaxchar``, and ``python -m jaxchar``: lists all commands, and runs one."""

import contextlib
import io
import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from jaxchar.cli.commands import COMMANDS
from jaxchar.cli.short_help import listed, terminal_width
from jaxchar.terminal.invocation import called_as, module_of
from jaxchar.version import __version__

# What other tools call these commands.
OTHER_NAMES = {
    "train": "fit learn run start new resume finetune fine-tune",
    "sample": "generate write predict gen complete chat",
    "evaluate": "eval test score validate perplexity",
    "memorization": "memorisation memorize copied overfit plagiarism",
    "compare": "diff table leaderboard versus runs",
    "inspect": "info show summary verify check describe",
    "play": "playground serve web ui gui visualize visualise browse",
    "report": "html page",
    "import": "convert from-keras from-torch load-keras import-model",
    "export": "to-keras to-torch onnx convert-to save-as publish export-model",
    "bench": "benchmark speed race time",
}
EXAMPLES = ("train my_novel.txt", "train my_novel.txt --minutes 20", 'sample --prompt "It was "')
# tyro's script does not complete positional file names. bash does, if a function offers nothing.
BASH_COMPLETES_FILES = """
_jaxchar() {
  _tyro_jaxchar
  if [[ -z "${COMPREPLY[*]}" ]]; then COMPREPLY=(); fi
}
complete -o default -F _jaxchar jaxchar
"""
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that is named first, or list all of them.

    Args:
        arguments: the command line; None takes the process's own.
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    first, rest = (typed[0], typed[1:]) if typed else ("help", [])
    if first == "help" and rest:  # jaxchar help train
        first, rest = rest[0], ["--help"]
    if first in COMMANDS:
        import_module(f"jaxchar.{module_of(first)}").main(arguments=rest)
    elif first in ("-h", "--help", "--help-all", "help"):
        _show(overview())
    elif first in ("-V", "--version", "version"):
        _show(versions())
    elif first in ("--tyro-print-completion", "--tyro-write-completion"):
        _complete(typed)
    else:
        from jaxchar.cli.messages import fail

        fail(_unknown(first))


def overview() -> str:
    """Return all commands, with one line each, as lines that fit the terminal."""
    called = called_as()
    more = f"{called} COMMAND --help shows the options of a command; {called} --version shows all versions."
    lines = [
        f"usage: {called} COMMAND [OPTIONS]",
        "",
        "Train a character-level language model on your own text, and write with it.",
        "",
        "commands:",
        *listed(COMMANDS, 16),
        "",
        "examples:",
        *(f"  {called} {example}" for example in EXAMPLES),
        "",
        *textwrap.wrap(more, terminal_width()),
    ]
    return "\n".join(lines)


def versions() -> str:
    """Return the versions of everything that affects training."""
    from importlib import metadata  # slow to import

    lines = [f"jaxchar {__version__}", f"Python {sys.version.split()[0]} ({sys.executable})"]
    for library in LIBRARIES:
        try:
            lines.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{library} is not installed")
    return "\n".join(lines)


def _unknown(typed: str) -> str:
    """Return the error for a first argument that is not a command."""
    import difflib

    called = called_as()
    if typed.startswith("-"):
        near = difflib.get_close_matches(typed, ["--help", "--version"], n=1, cutoff=0.75)
        meant = f"did you mean {near[0]}?" if near else "options come after the command."
        return f"there is no option {typed!r} without a command; {meant} See {called} --help"
    names = {name: name for name in COMMANDS}
    names |= {word: name for name, words in OTHER_NAMES.items() for word in words.split()}
    near = difflib.get_close_matches(typed.lower(), names, n=1)
    if near:
        return f"there is no command {typed!r}; did you mean {called} {names[near[0]]}? See {called} --help"
    if Path(typed).exists():
        return f"{typed!r} is a file, not a command; to train on it: {called} train {shlex.quote(typed)}"
    return f"there is no command {typed!r}; there are {', '.join(COMMANDS)}; see {called} --help"


def _complete(arguments: Sequence[str]) -> None:
    """Print or write a script that completes commands and options in a shell."""
    from tyro.conf import OmitArgPrefixes
    from tyro.extras import subcommand_cli_from_dict

    from jaxchar.cli.arguments import completes_a_shell
    from jaxchar.cli.messages import one_line_errors

    kinds = {name: import_module(f"jaxchar.{module_of(name)}").Arguments for name in COMMANDS}
    with one_line_errors():
        completes_a_shell(arguments)
        _, shell, *path = arguments
        script = io.StringIO()
        with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
            ask = ["--tyro-print-completion", shell]
            subcommand_cli_from_dict(kinds, prog="jaxchar", args=ask, config=(OmitArgPrefixes,))
        if shell == "bash":
            script.write(BASH_COMPLETES_FILES)
        if path and path != ["-"]:
            Path(*path).expanduser().write_text(script.getvalue(), encoding="utf-8")
        else:
            _show(script.getvalue())


def _show(text: str) -> None:
    """Print text; it is no error if the reader has already left."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()

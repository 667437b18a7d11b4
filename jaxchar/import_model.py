"""Make a run of a model of Keras or PyTorch: ``jaxchar import model.h5 --vocabulary chars.json``."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.parse import parse_command
from jaxchar.errors import JaxcharError
from jaxchar.terminal.invocation import called_as
from jaxchar.terminal.visible import visible

if TYPE_CHECKING:  # this imports JAX, which --help need not wait for
    from jaxchar.training.imported import ImportedRun


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Make a run of a model of Keras or PyTorch."""

    # The model: HDF5 or .keras of Keras, a state dictionary of PyTorch in .safetensors or .pt.
    file: Annotated[str | None, Positional, arg(metavar="[FILE]", help_behavior_hint="")] = None
    # Which character each id means. JSON: a list, or an object from characters to ids or back. A text file:
    # the characters in order. A pickle of plain containers; nothing in it is run.
    vocabulary: str | None = None
    run_dir: str | None = None  # where the run is made; None: a new folder in runs/
    # The gate function, where the file has weights alone. hard_sigmoid: clip(0.2 x + 0.5, 0, 1).
    gate: Literal["sigmoid", "hard_sigmoid"] | None = None
    # How it reads text. None: as the file says, or streams.
    batching: Literal["streams", "windows"] | None = None
    seq_len: int | None = None  # characters of a window; None: as the file says
    # Whether every character predicts the next one, or the last of a window. None: as the file says.
    return_sequences: bool | None = None
    lowercase: bool | None = None  # lower-case texts; None: if all letters that the model knows are small
    fill: str | None = None  # stands for every character that the model lacks; None: they are refused
    json: bool = False  # print one JSON object


def main(arguments: Sequence[str] | None = None) -> None:
    """Import as the command line says; the run's folder on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "import", arguments)
        if typed.file is None:
            raise JaxcharError("import needs the file of a model, for instance: jaxchar import model.h5")
        from jaxchar.interchange.reading import ImportOptions
        from jaxchar.training.imported import import_model

        options = ImportOptions(
            vocabulary=typed.vocabulary,
            gate=typed.gate,
            batching=typed.batching,
            seq_len=typed.seq_len,
            return_sequences=typed.return_sequences,
            lowercase=typed.lowercase,
            fill=typed.fill,
        )
        made = import_model(typed.file, typed.run_dir, options)
        if typed.json:
            print(json.dumps(_record(made)))
            return
        config, vocabulary, _ = made.imported.model
        sizes = ", ".join(map(str, config.layer_sizes))
        reads = f"windows of {config.seq_len} characters" if config.context_limit else "streams of characters"
        print(
            f"Imported {visible(made.imported.file)} ({visible(made.imported.origin)}): "
            f"{config.cell} of {sizes} units, "
            f"{len(vocabulary)} characters, reads {reads}."
        )
        print(f"Write with it: {called_as('sample')} {shlex.quote(str(made.run_dir))}", file=sys.stderr)


def _record(made: "ImportedRun") -> dict[str, Any]:
    """Return what was imported, as a JSON object."""
    config, vocabulary, _ = made.imported.model
    return {
        "run_dir": str(made.run_dir),
        "file": made.imported.file,
        "sha256": made.imported.sha256,
        "origin": made.imported.origin,
        "cell": config.cell,
        "hidden_sizes": list(config.layer_sizes),
        "embedding_size": config.embedding_size,
        "gate": config.gate,
        "characters": len(vocabulary),
        "batching": config.batching,
        "seq_len": config.seq_len,
        "return_sequences": config.return_sequences,
    }


if __name__ == "__main__":
    main()

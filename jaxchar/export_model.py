"""Write a model for other frameworks: ``jaxchar export runs/mine mine.safetensors``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import note, one_line_errors, warn
from jaxchar.cli.parse import parse_command
from jaxchar.errors import JaxcharError
from jaxchar.terminal.visible import visible


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write a trained model for other frameworks."""

    # A run's folder, its checkpoints folder, or one checkpoint's folder; then the file to write, whose suffix
    # is the format: .safetensors, .keras, .pt, .onnx, .h. A folder gets model.safetensors.
    paths: Annotated[tuple[str, ...], Positional, arg(metavar="[RUN FILE]", help_behavior_hint="")] = ()
    # Which checkpoint of the run. None: the best one if the run was validated, else the last one.
    which: Literal["last", "best"] | None = None
    overwrite: bool = False  # replace files that are there


def main(arguments: Sequence[str] | None = None) -> None:
    """Export as the command line says; the files on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "export", arguments)
        if len(typed.paths) != 2:
            raise JaxcharError(
                f"export needs a run and the file to write, for instance runs/mine mine.safetensors, but "
                f"there are "
                f"{len(typed.paths)} paths"
            )
        run, target = typed.paths
        from jaxchar.checkpoint.find import load_checkpoint
        from jaxchar.checkpoint.weights import weights_structure
        from jaxchar.training.exported import export_checkpoint

        loaded = load_checkpoint(run, weights_structure, typed.which)
        warn(loaded.warnings)
        files = export_checkpoint(loaded, target, overwrite=typed.overwrite)
        if loaded.memory is not None:
            note(["the text that the model remembers is not exported; the network is"])
        for file in files:
            print(visible(str(file)))


if __name__ == "__main__":
    main()

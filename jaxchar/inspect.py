"""Show what is in a checkpoint, and whether it is whole: ``python -m jaxchar.inspect --ckpt runs/mine``.

It leaves with exit code 1 where anything is damaged.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.newest_run import run_to_use, say_run
from jaxchar.cli.parse import parse_command
from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.errors import JaxcharError
from jaxchar.terminal.tables import inspection

if TYPE_CHECKING:  # these import JAX, which --help need not wait for
    from jaxchar.checkpoint.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Show what is in a checkpoint, every array of it verified; of a run, verify every checkpoint.

    Where anything is damaged, the exit code is 1.
    """

    # A run's folder, its checkpoints folder, or one checkpoint's; none: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    json: bool = False  # print one JSON object


def main(arguments: Sequence[str] | None = None) -> None:
    """Inspect as the command line says; what is found on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "inspect", arguments)
        run = run_to_use(typed)
        result = inspect(run)
        say_run(typed, run)
        if typed.json:
            print(json.dumps(result))
        else:
            inspection(result)
    if any(found["damage"] for found in result["checkpoints"]):
        raise SystemExit(1)


def inspect(path: str) -> dict[str, Any]:
    """Verify the checkpoints that a path means, and describe the newest one with whole metadata.

    Returns:
        A JSON object: ``checkpoints``, newest first, each as from :func:`verify`, and ``shown``, as from
        :func:`describe`.

    Raises:
        JaxcharError: there is no checkpoint, or the path cannot be used.
    """
    from jaxchar.checkpoint.find import all_checkpoints
    from jaxchar.checkpoint.record import read_metadata

    shown, found = None, []
    for checkpoint in all_checkpoints(path):
        result = verify(checkpoint)
        found.append(result)
        if shown is None and result["metadata"]:
            shown = {"path": str(checkpoint), **describe(read_metadata(checkpoint))}
    return {"checkpoints": found, "shown": shown}


# ---- verification --------------------------------------------------------------------------------


def verify(checkpoint: Path) -> dict[str, Any]:
    """Compare every array with its SHA-256, and return what a checkpoint holds and what is damaged."""
    import jax

    from jaxchar.checkpoint.arrays import read_state
    from jaxchar.checkpoint.record import read_metadata
    from jaxchar.training.step import state_structure

    result: dict[str, Any] = {
        "path": str(checkpoint),
        "metadata": False,
        "arrays": 0,
        "bytes": 0,
        "damage": [],
    }
    try:
        structure = state_structure(read_metadata(checkpoint))
    except JaxcharError as error:
        return result | {"damage": [_reason(error)]}
    leaves = jax.tree.leaves(structure)
    result |= {"metadata": True, "arrays": len(leaves), "bytes": _num_bytes(structure)}
    try:
        read_state(checkpoint, structure)
    except JaxcharError as error:
        result["damage"] = _damaged_arrays(checkpoint, structure) or [_reason(error)]
    return result


def _damaged_arrays(checkpoint: Path, structure: Any) -> list[str]:
    """Return what is wrong with each damaged array; they are read one by one."""
    import jax

    from jaxchar.checkpoint.arrays import read_state

    leaves, treedef = jax.tree.flatten(structure)
    damage = []
    for index, leaf in enumerate(leaves):
        alone = jax.tree.unflatten(treedef, [leaf if i == index else None for i in range(len(leaves))])
        try:
            read_state(checkpoint, alone)
        except JaxcharError as error:
            damage.append(_reason(error))
    return list(dict.fromkeys(damage))


def _reason(error: JaxcharError) -> str:
    message = str(error)
    return message.partition(" is damaged: ")[2] or message


# ---- contents ------------------------------------------------------------------------------------


def describe(metadata: "Metadata") -> dict[str, Any]:
    """Return a checkpoint's metadata, model and sizes as a JSON object."""
    from flax import nnx

    from jaxchar.training.step import state_structure

    structure = state_structure(metadata)
    settings, defaults = metadata.config.to_json(), Config().to_json()
    record = metadata.to_json()
    kept = ("step", "epoch", "steps_per_epoch", "corpus", "metrics", "last", "best", "versions", "machine")
    return {
        **{name: record[name] for name in kept},
        "config": settings,
        "groups": settings_by_group(),
        "changed": {name: defaults[name] for name in settings if settings[name] != defaults[name]},
        "vocabulary": record["vocabulary"],
        "layers": _layers(metadata),
        "parameters": [
            {"name": ".".join(map(str, path)), "shape": list(leaf.shape), "dtype": leaf.dtype.name}
            for path, leaf in nnx.to_flat_state(structure.params)
        ],
        "optimizer_state": _size(structure.opt_state),
        "weight_average": None if structure.average is None else _size(structure.average),
        "carry": _size(structure.carry),
    }


def _layers(metadata: "Metadata") -> list[dict[str, Any]]:
    """Return the model's layers with their output shapes and parameter counts."""
    import jax
    from flax import nnx

    from jaxchar.model.split import split_model

    config, vocab_size = metadata.config, len(metadata.vocabulary)
    model = nnx.merge(*jax.eval_shape(lambda: split_model(config, vocab_size)))
    return [row._asdict() for row in model.summary(return_sequences=config.return_sequences)]


def _size(tree: Any) -> dict[str, int]:
    import jax

    leaves = jax.tree.leaves(tree)
    return {"arrays": len(leaves), "numbers": sum(leaf.size for leaf in leaves), "bytes": _num_bytes(tree)}


def _num_bytes(tree: Any) -> int:
    import jax

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def settings_by_group() -> dict[str, list[str]]:
    """Return the names of the settings under the group that declares each."""
    kinds = (CorpusConfig, BatchConfig, ModelConfig, OptimizerConfig, RunConfig)
    return {
        kind.__name__.removesuffix("Config").lower(): [field.name for field in dataclasses.fields(kind)]
        for kind in kinds
    }


if __name__ == "__main__":
    main()

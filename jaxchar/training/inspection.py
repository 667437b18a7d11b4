"""What is in a run's checkpoints, and whether each of them is whole: every array against its SHA-256."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from flax import nnx

from jaxchar.checkpoint.arrays import MEMORY, described_array, described_part, read_state
from jaxchar.checkpoint.find import all_checkpoints
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.record import read_metadata
from jaxchar.checkpoint.weights import read_memory
from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.errors import JaxcharError
from jaxchar.model.split import model_structure
from jaxchar.own_cells import UnknownCellError
from jaxchar.training.step import TrainState, state_structure

# What the JSON object of a checkpoint's contents takes from its metadata as it is.
FROM_METADATA = (
    "step",
    "epoch",
    "steps_per_epoch",
    "corpus",
    "metrics",
    "last",
    "best",
    "versions",
    "machine",
)


class Verification(NamedTuple):
    """What was read of a checkpoint, and what of it is damaged."""

    path: Path
    metadata: bool  # whether the metadata are whole; if not, no array is known
    arrays: int
    num_bytes: int  # of all arrays
    damage: list[str]  # what is wrong, in words; empty: the checkpoint is whole

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "path": str(self.path),
            "metadata": self.metadata,
            "arrays": self.arrays,
            "bytes": self.num_bytes,
            "damage": self.damage,
        }


class Size(NamedTuple):
    """How much a part of the training state holds."""

    arrays: int
    numbers: int
    num_bytes: int

    @classmethod
    def of(cls, tree: Any) -> "Size":
        """Return the size of all arrays of a pytree."""
        leaves = jax.tree.leaves(tree)
        return cls(len(leaves), sum(leaf.size for leaf in leaves), _num_bytes(tree))

    def to_json(self) -> dict[str, int]:
        """Return a JSON object."""
        return {"arrays": self.arrays, "numbers": self.numbers, "bytes": self.num_bytes}


class Parameter(NamedTuple):
    """One array of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**self._asdict(), "shape": list(self.shape)}


class Contents(NamedTuple):
    """What one checkpoint holds, by its metadata."""

    path: Path
    metadata: Metadata
    changed: dict[str, Any]  # the default of every setting that does not have it
    layers: list[dict[str, Any]]  # name, output shape and number of parameters of each
    parameters: list[Parameter]
    optimizer_state: Size
    weight_average: Size | None  # None: the run keeps none
    carry: Size
    memory: Size | None  # the remembered text; None: the run keeps none

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        record = self.metadata.to_json()
        return {
            "path": str(self.path),
            **{name: record[name] for name in FROM_METADATA},
            "config": record["config"],
            "groups": settings_by_group(),
            "changed": self.changed,
            "vocabulary": record["vocabulary"],
            "layers": self.layers,
            "parameters": [parameter.to_json() for parameter in self.parameters],
            "optimizer_state": self.optimizer_state.to_json(),
            "weight_average": None if self.weight_average is None else self.weight_average.to_json(),
            "carry": self.carry.to_json(),
            "memory": None if self.memory is None else self.memory.to_json(),
        }


class Inspection(NamedTuple):
    """What was found at a path."""

    checkpoints: list[Verification]  # newest first
    shown: Contents | None  # of the newest checkpoint whose metadata are whole; None: of none they are

    @property
    def is_whole(self) -> bool:
        """Whether no checkpoint is damaged."""
        return not any(checkpoint.damage for checkpoint in self.checkpoints)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "checkpoints": [checkpoint.to_json() for checkpoint in self.checkpoints],
            "shown": None if self.shown is None else self.shown.to_json(),
        }


def inspect_checkpoints(path: str) -> Inspection:
    """Verify every checkpoint that a path means, and tell what is in the newest one.

    Args:
        path: a run's folder, its checkpoints folder, or one checkpoint's folder.

    Raises:
        JaxcharError: there is no checkpoint, or its cell is one's own and is not registered.
    """
    shown, found = None, []
    for checkpoint in all_checkpoints(path):
        verified = damage_report(checkpoint)
        found.append(verified)
        if shown is None and verified.metadata:
            shown = contents_of(checkpoint)
    return Inspection(found, shown)


# ---- verification --------------------------------------------------------------------------------


def damage_report(checkpoint: Path) -> Verification:
    """Read all of one checkpoint, every array against its SHA-256, and tell what is damaged.

    Raises:
        UnknownCellError: its cell is one's own, and is not registered.
    """
    try:
        metadata = read_metadata(checkpoint)
        structure = _structure(checkpoint, metadata)
    except UnknownCellError:  # that is no damage
        raise
    except JaxcharError as error:
        return Verification(checkpoint, metadata=False, arrays=0, num_bytes=0, damage=[_reason(error)])
    damage: list[str] = []
    try:
        read_state(checkpoint, structure)
    except JaxcharError as error:
        damage = _damaged_arrays(checkpoint, structure) or [_reason(error)]
    try:
        read_memory(checkpoint, metadata)
    except JaxcharError as error:
        damage.append(_reason(error))
    everything = structure, described_array(checkpoint, MEMORY)
    return Verification(
        checkpoint,
        metadata=True,
        arrays=len(jax.tree.leaves(everything)),
        num_bytes=_num_bytes(everything),
        damage=list(dict.fromkeys(damage)),
    )


def _structure(checkpoint: Path, metadata: Metadata) -> TrainState:
    """Return the structure of a checkpoint's state; of a user's own optimizer, as the metadata list it."""
    if metadata.config.optimizer != "custom":
        return state_structure(metadata)
    saved = described_part(checkpoint, "opt_state")
    alone = saved.get("") if len(saved) == 1 else None
    return state_structure(metadata, optax.identity())._replace(opt_state=saved if alone is None else alone)


def _damaged_arrays(checkpoint: Path, structure: Any) -> list[str]:
    """Return what is wrong with each damaged array, read one by one."""
    leaves, treedef = jax.tree.flatten(structure)
    damage = []
    for position, leaf in enumerate(leaves):
        alone = jax.tree.unflatten(treedef, [leaf if i == position else None for i in range(len(leaves))])
        try:
            read_state(checkpoint, alone)
        except JaxcharError as error:
            damage.append(_reason(error))
    return list(dict.fromkeys(damage))


def _reason(error: JaxcharError) -> str:
    message = str(error)
    return message.partition(" is damaged: ")[2] or message


# ---- contents ------------------------------------------------------------------------------------


def contents_of(checkpoint: Path) -> Contents:
    """Return what one checkpoint holds, by its metadata; the arrays are not read.

    Raises:
        JaxcharError: the metadata are damaged.
    """
    metadata = read_metadata(checkpoint)
    structure = _structure(checkpoint, metadata)
    settings, defaults = metadata.config.to_json(), Config().to_json()
    return Contents(
        path=checkpoint,
        metadata=metadata,
        changed={name: defaults[name] for name in settings if settings[name] != defaults[name]},
        layers=_layers(metadata),
        parameters=[
            Parameter(".".join(map(str, path)), tuple(leaf.shape), leaf.dtype.name)
            for path, leaf in nnx.to_flat_state(structure.params)
        ],
        optimizer_state=Size.of(structure.opt_state),
        weight_average=None if structure.average is None else Size.of(structure.average),
        carry=Size.of(structure.carry),
        memory=_size_of_memory(checkpoint),
    )


def _size_of_memory(checkpoint: Path) -> Size | None:
    memory = described_array(checkpoint, MEMORY)
    return None if memory is None else Size.of([memory])


def _layers(metadata: Metadata) -> list[dict[str, Any]]:
    """Return the model's layers with their output shapes and parameter counts."""
    config = metadata.config
    model = nnx.merge(*model_structure(config, len(metadata.vocabulary)))
    return [row._asdict() for row in model.summary(return_sequences=config.return_sequences)]


def _num_bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def settings_by_group() -> dict[str, list[str]]:
    """Return the names of the settings under the group that declares each."""
    kinds = (CorpusConfig, BatchConfig, ModelConfig, OptimizerConfig, RunConfig)
    return {
        kind.__name__.removesuffix("Config").lower(): [field.name for field in dataclasses.fields(kind)]
        for kind in kinds
    }

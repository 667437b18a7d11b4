"""A model that was made elsewhere becomes the folder of a run, with one checkpoint of step 0."""

from pathlib import Path
from typing import NamedTuple

from jaxchar.ambient import pinned
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.errors import JaxcharError
from jaxchar.interchange.reading import Imported, ImportOptions, read_model
from jaxchar.training.run_folder import RunFolder, make_next_free, name_for
from jaxchar.training.step import enough_chars, make_program

OR_ELSE = "give another --run-dir"  # where a folder holds a run


class ImportedRun(NamedTuple):
    """A run folder that was made of a file."""

    run_dir: Path
    imported: Imported


@pinned()
def import_model(
    path: str | Path, run_dir: str | Path | None = None, options: ImportOptions | None = None
) -> ImportedRun:
    """Make a run of a model of Keras or PyTorch, to write with it, score it, and start other runs from it.

    It has no training text, so it cannot be resumed: give it to :func:`jaxchar.fit` as ``init_from``.

    Args:
        path: the model's file: HDF5, ``.keras``, ``.weights.h5``, ``.safetensors``, ``.pt``.
        run_dir: the run's folder; it must not hold a run yet. None makes a new one in ``runs/``.
        options: the vocabulary, and what else the file does not say.

    Raises:
        JaxcharError: the file holds no model that fits, or the folder cannot be used; nothing has been
            written then.
    """
    if run_dir is not None:
        RunFolder(run_dir).check_free(OR_ELSE)
    imported = read_model(path, options)
    if run_dir is None:
        name = imported.file.removesuffix(".safetensors").removesuffix(".weights.h5")
        run_dir = make_next_free(Path("runs") / name_for([name]))
    folder = RunFolder(run_dir)
    _write(folder, imported)
    return ImportedRun(folder.path, imported)


def _write(folder: RunFolder, imported: Imported) -> None:
    """Write settings and checkpoint."""
    config, vocabulary, params = imported.model
    config = config.replace(save_in_background=False)
    program = make_program(config, len(vocabulary), enough_chars(config))
    state = program.initial_state()._replace(params=params)
    if state.average is not None:
        state = state._replace(average=params)
    metadata = Metadata(
        step=0,
        epoch=0,
        steps_per_epoch=1,
        config=config,
        vocabulary=vocabulary,
        corpus={
            "source": [imported.file],
            "sha256": imported.sha256,
            "characters": 0,
            "imported": imported.origin,
        },
        metrics={},
        last={},
        best={},
        logs=folder.log_sizes(),
        versions=library_versions(),
        machine=describe_machine(),
    )
    with CheckpointStore(folder.path, lock=config.lock) as store:
        folder.check_free(OR_ELSE)
        folder.create(config)
        store.save(state, metadata)
    if store.last_error is not None:
        raise JaxcharError(f"{store.last_error}; free some space, or give another --run-dir")

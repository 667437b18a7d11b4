"""A model that was made elsewhere becomes the folder of a run, with one checkpoint of step 0."""

from pathlib import Path
from typing import NamedTuple

from jaxchar.ambient import pinned
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.provenance import describe_machine, library_versions
from jaxchar.checkpoint.store import CheckpointStore
from jaxchar.errors import JaxcharError, quoted_path
from jaxchar.interchange.reading import Imported, ImportOptions, read_model
from jaxchar.training.run_folder import RunFolder, make_next_free, name_for
from jaxchar.training.step import enough_chars, make_program

MOST_STATE_BYTES = 1 << 30  # of the states of a batch, which the settings in a file of ours may claim
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

    Its training text is not known, nor the state of its optimizer. :func:`jaxchar.resume` goes on with the
    text that it is given; for other settings, give the run to :func:`jaxchar.fit` as ``init_from``.

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
    _check_batch(imported)
    if run_dir is None:
        name = imported.file.removesuffix(".safetensors").removesuffix(".weights.h5")
        run_dir = make_next_free(Path("runs") / name_for([name]))
    folder = RunFolder(run_dir)
    _write(folder, imported)
    return ImportedRun(folder.path, imported)


def _check_batch(imported: Imported) -> None:
    """Raise a JaxcharError where the settings in a file claim a batch that no memory may hold."""
    config = imported.model.config
    num_bytes = 8 * config.batch_size * sum(config.layer_sizes)  # h and c of float32
    if num_bytes > MOST_STATE_BYTES:
        raise JaxcharError(
            f"cannot import {quoted_path(imported.file)}: its batch_size is {config.batch_size:,}, whose "
            f"states take {num_bytes:,} bytes, expected at most {MOST_STATE_BYTES:,}; to write with the "
            "model, give the file to jaxchar.load"
        )


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

"""A checkpoint's model for other frameworks, with what is known of its training on the model card."""

from pathlib import Path

from jaxchar.checkpoint.find import Loaded
from jaxchar.interchange.writing import write_model


def export_checkpoint(loaded: Loaded, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write the model of a checkpoint, see :func:`jaxchar.interchange.writing.write_model`.

    Args:
        loaded: with the structure of :func:`jaxchar.checkpoint.weights.weights_structure`.
        path: the file to write.
        overwrite: whether files that are there may be replaced.
    """
    metadata = loaded.metadata
    (params,) = loaded.state.values()
    return write_model(
        path, metadata.config, metadata.vocabulary, params, overwrite=overwrite, facts=_facts(loaded)
    )


def _facts(loaded: Loaded) -> dict[str, str]:
    """Return what a checkpoint tells of its training; of a path, the name alone."""
    metadata = loaded.metadata
    corpus = metadata.corpus
    name = " ".join(Path(source).name or source for source in corpus["source"])
    if "imported" in corpus:
        return {"imported from": f"{name} ({corpus['imported']}), SHA-256 {corpus['sha256']}"}
    facts = {"trained on": f"{name}: {corpus['characters']:,} characters, SHA-256 {corpus['sha256']}"}
    facts["training"] = f"{metadata.step:,} steps, {metadata.epoch:,} whole epochs"
    if "val_loss" in metadata.metrics:
        facts["validation loss"] = f"{metadata.metrics['val_loss']:.4f} nats per character"
    return facts

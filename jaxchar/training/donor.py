"""The run that a new one begins with: its checkpoint, its characters, and what is said of them."""

from pathlib import Path

from jaxchar.checkpoint.find import Loaded
from jaxchar.config import Config
from jaxchar.data.dataset import Dataset, load_dataset, with_sources
from jaxchar.data.vocabulary import UnknownCharactersError, describe_characters
from jaxchar.errors import JaxcharError
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.transfer import NewCharacters, explain_unknown, load_donor


def donor_of(
    init_from: str | Path | None, keep_optimizer: bool, new_characters: NewCharacters
) -> Loaded | None:
    """Return the checkpoint that a run begins with, if it begins with one."""
    if init_from is not None:
        return load_donor(init_from, keep_optimizer=keep_optimizer)
    if keep_optimizer or new_characters != "error":
        raise JaxcharError("--keep-optimizer and --new-characters need --init-from, the run to begin with")
    return None


def load_text(
    config: Config, donor: Loaded | None = None, new_characters: NewCharacters = "error"
) -> tuple[Dataset, Config]:
    """Load the corpus; return it and the settings that name what was loaded.

    Args:
        config: all settings.
        donor: the run to begin with, in whose characters the text is read.
        new_characters: whether others may be added to them.
    """
    vocabulary = None if donor is None else donor.metadata.vocabulary
    try:
        dataset = load_dataset(config, vocabulary, new_characters)
    except UnknownCharactersError as error:
        if donor is None:
            raise
        raise explain_unknown(error, donor, config) from error
    return dataset, with_sources(dataset, config)


def show_added(display: GuardedDisplay, added: str) -> None:
    """Say which characters were added to the model, if any were."""
    if added:
        display.notice(f"Characters added to the model: {len(added):,}: {describe_characters(added)}")

"""Where a prompt can come from: a file, the training text of a checkpoint, or the default."""

import codecs
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.data.dataset import load_own_dataset
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError, quoted_path, reason_of


def default_prompt(vocabulary: Vocabulary) -> str:
    """Return a line break, a space, or the first symbol: the first of these that the model knows."""
    symbols = vocabulary.symbols
    return next((symbol for symbol in "\n " if symbol in symbols), symbols[0])


def prompt_from_file(path: str) -> str:
    """Return the content of a UTF-8 file, or of a UTF-16 file with a byte-order mark.

    Args:
        path: of the file; "-" is standard input.

    Raises:
        JaxcharError: the file cannot be read, or is in another encoding.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        # Some editors write UTF-16, with a mark at the start.
        with_mark = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if with_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise JaxcharError(
            f"cannot read the prompt file {quoted_path(path)}: byte 0x{error.object[error.start]:02x} at "
            f"position {error.start:,} is not {error.encoding.upper()}; convert it to UTF-8 first, for "
            "instance with `iconv -f CP1252 -t UTF-8`"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise JaxcharError(
            f"cannot read the prompt file {quoted_path(path)}: {reason_of(error)}; give a UTF-8 text file"
        ) from error


def prompt_from_corpus(metadata: Metadata, position: int, corpus: str | Iterable[str] | None = None) -> str:
    """Return ``seq_len`` characters of the text that a checkpoint was trained on.

    Args:
        metadata: of the checkpoint.
        position: of the first character, from 0.
        corpus: where the text lies now; None: where it was. It is checked by its SHA-256.

    Raises:
        JaxcharError: the text is not there or is another one, or has no such position.
    """
    config, vocabulary = metadata.config, metadata.vocabulary
    dataset = load_own_dataset(
        config.replace(corpus=corpus or config.corpus, separator=None),  # documents in their own order
        vocabulary,
        metadata.corpus,
    )
    ids = np.concatenate([np.asarray(split) for split in dataset.splits.values()])
    last = max(0, len(ids) - config.seq_len)
    if not 0 <= position <= last:
        raise JaxcharError(f"--from-corpus must be a position from 0 to {last:,}, but it is {position:,}")
    return vocabulary.decode(ids[position : position + config.seq_len])

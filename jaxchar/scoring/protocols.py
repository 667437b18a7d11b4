"""How a text is cut up to be scored: a stateful pass, blocks, or windows.

Letters: those of :mod:`jaxchar.data.batches`.
"""

from jaxchar.config import Config
from jaxchar.data.batches import Blocks, Streams, Windows
from jaxchar.errors import JaxcharError

# Lanes of a stateful pass: as many as leave each at least LANE_CHARS characters, so that reading them
# in parallel costs less than 0.005 nats against one single pass; MOST_LANES at the most.
LANE_CHARS = 8192
MOST_LANES = 64
EVALUATION_STEP_CHARS = 128  # characters of each lane that a step of a stateful pass reads
EVALUATION_ROWS = 128  # windows or blocks evaluated side by side, at the most
EVALUATION_CHARS = 1 << 15  # and so many characters of them, which bounds the memory


def stateful_pass(num_chars: int, lanes: int | None = None) -> Streams:
    """Return the protocol that reads a text once, carrying the state, in parallel lanes."""
    lanes = min(lanes or min(MOST_LANES, max(1, num_chars // LANE_CHARS)), num_chars - 1)
    return Streams(num_chars, EVALUATION_STEP_CHARS, lanes, whole=True)


def evaluation_batches(
    config: Config, num_chars: int, split: str = "validation"
) -> Windows | Streams | Blocks:
    """Return the configuration's evaluation protocol over the ``num_chars`` characters of a split.

    Windows of the training split are those that are trained on; elsewhere they are ``eval_stride`` apart.

    Raises:
        JaxcharError: the text is too short for a single prediction.
    """
    least = config.seq_len + 1 if config.protocol == "windows" else 2
    if num_chars < least:
        raise JaxcharError(
            f"the {split} text has {num_chars:,} characters, but a single prediction needs {least:,}; "
            "give more text, a larger share of it, or no share at all"
        )
    if config.protocol == "stateful":
        return stateful_pass(num_chars)
    length = min(config.eval_block, num_chars - 1) if config.protocol == "blocks" else config.seq_len
    rows = max(1, min(EVALUATION_ROWS, EVALUATION_CHARS // length))
    if config.protocol == "blocks":
        return Blocks(num_chars, length, rows)
    trained_on = split == "train"
    return Windows(
        num_chars,
        config.seq_len,
        rows,
        config.stride if trained_on else config.eval_stride,
        return_sequences=config.return_sequences,
        max_windows=config.max_windows if trained_on else None,
    )

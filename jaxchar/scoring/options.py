"""What can be asked of an evaluation and of a comparison with the training text, checked.

Nothing here imports JAX, so a command can refuse a wrong option at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jaxchar.config import MEMORY_CONTEXT, Config, check_memory_options
from jaxchar.errors import JaxcharError

# The protocol that each of these options belongs to.
PROTOCOL_OF = {"block": "blocks", "stride": "windows", "lanes": "stateful"}


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Which text to score, and how."""

    corpus: str | Iterable[str] | None = None  # paths of the text to score; None: the run's own text
    encoding: str | None = None  # of corpus; None: as in training
    # Of the run's own text: each split, one of them, or the whole text as one. Another text is scored whole.
    split: Literal["all", "train", "validation", "test", "whole"] = "all"
    protocol: Literal["stateful", "blocks", "windows"] | None = None  # None: as the run was evaluated
    block: int | None = None  # blocks: characters of a block; None: as in the run's settings
    stride: int | None = None  # windows: characters from one to the next; None: as in the run's settings
    lanes: int | None = None  # stateful: parallel parts of the text; None: 1 for every 8,192 characters
    unknown: Literal["error", "skip", "replace"] = "error"  # what to do with characters that the model lacks
    # Also score with the counts of the remembered text (static), and with those of what was read (growing).
    memory: Literal["none", "static", "growing"] = "growing"
    dynamic: bool = False  # also score with a network that goes on learning from the text as it reads

    def __post_init__(self) -> None:
        for name in PROTOCOL_OF:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise JaxcharError(f"{name} must be a whole number of 1 or more, but it is {value}")
        if self.encoding is not None and self.corpus is None:
            raise JaxcharError("--encoding is for --corpus; leave it out, or give --corpus")

    def applied_to(self, config: Config) -> Config:
        """Return the settings of a run with these options in place of its own.

        Raises:
            JaxcharError: an option belongs to another protocol than the one that is used.
        """
        chosen = {
            "eval_block": self.block,
            "eval_stride": self.stride,
            "eval_protocol": self.protocol,
            "corpus": self.corpus,
            "encoding": self.encoding,
        }
        for name, value in chosen.items():
            config = config if value is None else config.replace(**{name: value})
        if self.split == "whole":
            config = config.replace(separator=None, val_fraction=0.0, test_fraction=0.0)
        for name, protocol in PROTOCOL_OF.items():
            if getattr(self, name) is not None and config.protocol != protocol:
                raise JaxcharError(
                    f"--{name} is for --protocol={protocol}, but the protocol is {config.protocol}; leave it "
                    "out"
                )
        return config


@dataclass(frozen=True, kw_only=True)
class MemorizationOptions:
    """Which text to compare with the training text."""

    text: str | None = None  # path of the text to compare; None: the model writes one
    length: int = 100_000  # characters that the model writes, and of held-out text at most
    temperature: float = 1.0  # of what the model writes
    seed: int = 0  # of what the model writes
    memory: float = 1.0  # how much it goes by what it remembers, 0 to 1, where it remembers something
    memory_context: int = MEMORY_CONTEXT  # characters of the longest context that memory goes by
    corpus: str | Iterable[str] | None = None  # where the run's text lies now; None: where it was
    encoding: str | None = None  # of text; None: as in training

    def __post_init__(self) -> None:
        if self.length < 1:
            raise JaxcharError(f"length must be a whole number of 1 or more, but it is {self.length}")
        check_memory_options(self.memory, self.memory_context)
        if self.encoding is not None and self.text is None:
            raise JaxcharError("--encoding is for --text; leave it out, or give --text")

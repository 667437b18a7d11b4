"""The metadata of a checkpoint: what is known of its run, to and from JSON.

A checkpoint may come from anywhere, so its metadata is untrusted input, validated on load: the type and
range of every value is checked before anything uses it.
"""

import math
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError

FIGURES = ("step", "seconds", "val_loss", "val_accuracy", "evaluations_since")
SHA256 = re.compile("[0-9a-f]{64}")


class Metadata(NamedTuple):
    """What is known of a run at a checkpoint, beside the arrays."""

    step: int
    epoch: int  # whole epochs done
    steps_per_epoch: int
    config: Config
    vocabulary: Vocabulary
    # source, sha256, characters; encoding, where it is not UTF-8. Of a model that was made elsewhere:
    # imported, the framework; source and sha256 are those of its file, and there are no characters.
    corpus: dict[str, Any]
    metrics: dict[str, float]  # at this step
    last: dict[str, float]  # step, val_loss and val_accuracy of the last evaluation, or nothing
    best: dict[str, float]  # step and val_loss of the best evaluation so far, or nothing
    logs: dict[str, int]  # bytes of each log file when this was saved
    versions: dict[str, str]
    machine: dict[str, Any]  # see jaxchar.checkpoint.provenance.describe_machine

    @property
    def validation_loss(self) -> float:
        """The validation loss at this step; infinite where there is none, or none that is a number."""
        loss = self.metrics.get("val_loss", math.inf)
        return math.inf if math.isnan(loss) else loss

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        plain = {"config": self.config.to_json(), "vocabulary": self.vocabulary.to_json()}
        return {**self._asdict(), **plain}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Metadata":
        """Return what :meth:`to_json` wrote.

        Raises:
            JaxcharError: something in it is missing, or of another type or range than it must be.
        """
        missing = [name for name in cls._fields if name not in record]
        _require(not missing, f"{', '.join(missing)} missing")
        for name in ("step", "epoch", "steps_per_epoch"):
            _require(_is_count(record[name]), f"{name} is no count")
        _require(record["steps_per_epoch"] > 0, "steps_per_epoch is 0")
        _check_corpus(record["corpus"])
        for name in ("metrics", "last", "best"):
            _check_numbers(name, record[name], FIGURES)
        _require(not record["last"] or {"step", "val_loss"} <= record["last"].keys(), "last is incomplete")
        _check_numbers("logs", record["logs"])
        _require(all(map(_is_count, record["logs"].values())), "logs holds what is no count")
        for name in ("versions", "machine"):
            _require(isinstance(record[name], dict), f"{name} is no object")
        fields = {name: record[name] for name in cls._fields}
        fields["config"] = Config.from_json(record["config"])
        fields["vocabulary"] = Vocabulary.from_json(record["vocabulary"])
        return cls(**fields)


# ---- checks --------------------------------------------------------------------------------------


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise JaxcharError(f"its metadata is malformed: {otherwise}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_corpus(corpus: Any) -> None:
    keys = {"source", "sha256", "characters"}
    holds = isinstance(corpus, dict) and corpus.keys() - {"encoding", "imported"} == keys
    _require(holds, f"corpus does not hold {sorted(keys)}")
    for name in ("encoding", "imported"):
        _require(isinstance(corpus.get(name, ""), str), f"corpus {name} is no text")
    source = corpus["source"]
    _require(
        isinstance(source, list | tuple) and all(isinstance(part, str) for part in source),
        "corpus source is no list of texts",
    )
    digest = corpus["sha256"]
    _require(isinstance(digest, str) and SHA256.fullmatch(digest) is not None, "corpus sha256 is no digest")
    _require(_is_count(corpus["characters"]), "corpus characters is no count")


def _check_numbers(name: str, record: Any, allowed: Collection[str] | None = None) -> None:
    _require(isinstance(record, dict), f"{name} is no object")
    for key, value in record.items():
        known = allowed is None or key in allowed
        number = isinstance(value, float) or _is_count(value)
        _require(known and number, f"{name} holds what it should not: {key!r}")

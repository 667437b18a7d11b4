"""What a checkpoint says of itself, beside its arrays: a record, to and from JSON, believed in nothing.

A checkpoint may come from anywhere, so every value is checked to be of its kind and in its range
before anybody uses it.
"""

import os
import platform
import re
from collections.abc import Collection
from importlib.metadata import version
from typing import Any, NamedTuple

import jax

from jaxchar.ambient import compiler_settings
from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.machine import num_cores
from jaxchar.recurrence import native
from jaxchar.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
FIGURES = ("step", "seconds", "val_loss", "val_accuracy", "evaluations_since")
SHA256 = re.compile("[0-9a-f]{64}")


class Metadata(NamedTuple):
    """What a checkpoint says of itself, beside its arrays."""

    step: int
    epoch: int  # whole epochs done
    steps_per_epoch: int
    config: Config
    vocabulary: Vocabulary
    corpus: dict[str, Any]  # source, sha256, characters; encoding, where it is not UTF-8
    metrics: dict[str, float]  # at this step
    last: dict[str, float]  # step, val_loss and val_accuracy of the last evaluation, or nothing
    best: dict[str, float]  # step and val_loss of the best evaluation so far, or nothing
    logs: dict[str, int]  # bytes of each log file when this was saved
    versions: dict[str, str]
    machine: dict[str, Any]  # platform, device kind and count, processor cores, what was built for it

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        plain = {"config": self.config.to_json(), "vocabulary": self.vocabulary.to_json()}
        return {**self._asdict(), **plain}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Metadata":
        """Return what :meth:`to_json` wrote.

        Raises:
            JaxcharError: something in it is missing or not what it should be.
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


def describe_machine(devices: int = 1) -> dict[str, Any]:
    """Return what bit-exactness depends on beside the library versions.

    Args:
        devices: how many of them share the work.
    """
    device = jax.devices()[0]
    compiler = compiler_settings()
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "device_count": devices,
        "processor": platform.machine(),
        "cores": num_cores(),
        "recurrence": native.identity() or "fused",
        **({"compiler_settings": compiler} if compiler else {}),  # older checkpoints have none
    }


def memory_bytes() -> int:
    """Return how much memory the default device has; a processor has the machine's."""
    on_device = jax.local_devices()[0].memory_stats() or {}
    return on_device.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def library_versions() -> dict[str, str]:
    """Return the versions of the packages that make the numbers, and of Python."""
    ours = {"jaxchar": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in PACKAGES}


# ---- checks --------------------------------------------------------------------------------------


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise JaxcharError(f"its metadata is malformed: {otherwise}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_corpus(corpus: Any) -> None:
    keys = {"source", "sha256", "characters"}
    holds = isinstance(corpus, dict) and corpus.keys() - {"encoding"} == keys
    _require(holds, f"corpus does not hold {sorted(keys)}")
    _require(isinstance(corpus.get("encoding", ""), str), "corpus encoding is no text")
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

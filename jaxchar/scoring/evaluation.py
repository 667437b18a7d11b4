"""Score a checkpoint on the text of its run, split by split, or on any other text."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxchar.ambient import pinned
from jaxchar.checkpoint.find import Loaded, Which, load_checkpoint
from jaxchar.checkpoint.metadata import Metadata
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.config import Config
from jaxchar.data.dataset import Dataset, load_own_dataset, load_own_or_other
from jaxchar.data.vocabulary import UnknownCharactersError
from jaxchar.errors import JaxcharError, in_callers_words
from jaxchar.memory.text_memory import TextMemory
from jaxchar.model.split import model_structure
from jaxchar.scoring.dynamic import check_dynamic, learn_while_reading
from jaxchar.scoring.options import EvaluationOptions
from jaxchar.scoring.predict import predict
from jaxchar.scoring.predictions import Predictions, Protocol
from jaxchar.scoring.protocols import evaluation_batches, stateful_pass
from jaxchar.scoring.report import ReportFolder
from jaxchar.scoring.score import Estimate, Evaluation
from jaxchar.scoring.with_memory import Counting, losses_with_memory, to_json

COUNTINGS: tuple[Counting, ...] = ("static", "growing")
SPLITS = ("train", "validation", "test")

Warn = Callable[[Iterable[str]], None]


class Scored(NamedTuple):
    """The figures of one text."""

    evaluation: Evaluation
    with_memory: dict[Counting, Estimate]  # the loss with a memory, by the way of counting


class _Part(NamedTuple):
    """What is reported of one split."""

    scored: Scored
    dynamic: Scored | None  # by a network that goes on learning, if asked for
    files: list[str]  # with every character's surprise, if asked for


class EvaluationReport(NamedTuple):
    """How well a checkpoint predicts a text."""

    checkpoint: Path
    step: int  # at which the checkpoint was saved
    corpus: str  # the sources of the text
    protocol: str
    replaced: int  # characters that the model lacks and another one stands for
    left_out: int  # characters that the model lacks and that were not scored
    splits: dict[str, Evaluation]  # by name; a text that is scored whole is called "text"
    files: dict[str, list[str]]  # of each split, the files with every character's surprise, if asked for
    # Of each split, the loss with a memory, by the way of counting; empty where nothing is remembered.
    with_memory: dict[str, dict[Counting, Estimate]]
    dynamic: dict[str, Scored]  # the same by a network that goes on learning as it reads, if asked for

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        figures = {name: evaluation.to_json() for name, evaluation in self.splits.items()}
        for name, files in self.files.items():
            figures[name]["files"] = files
        for name, losses in self.with_memory.items():
            figures[name]["memory"] = to_json(losses)
        for name, (evaluation, losses) in self.dynamic.items():
            figures[name]["dynamic"] = {**evaluation.to_json(), "memory": to_json(losses)}
        return {
            "checkpoint": str(self.checkpoint),
            "step": self.step,
            "corpus": self.corpus,
            "protocol": self.protocol,
            "unknown": {"replaced": self.replaced, "left_out": self.left_out},
            "splits": figures,
        }


def warn_in_python(lines: Iterable[str]) -> None:
    """Issue a Python warning for each line."""
    for line in lines:
        warnings.warn(in_callers_words(line), stacklevel=3)


def evaluate(
    path: str | Path,
    options: EvaluationOptions | None = None,
    *,
    which: Which | None = None,
    per_character: str | None = None,
    warn: Warn = warn_in_python,
    on_ready: Callable[[Loaded], None] | None = None,
) -> EvaluationReport:
    """Score a checkpoint on a text.

    Args:
        path: a run's folder, its checkpoints folder, or one checkpoint's folder.
        options: which text, and how it is read; None: the run's own text, as the run was evaluated.
        which: of a run's checkpoints, the "last" or the "best"; None: the best where the run was validated,
            else the last.
        per_character: a folder for each character's surprise, as CSV and HTML; None: none is written.
        warn: gets lines about damaged checkpoints and about how the text was read.
        on_ready: is called with the checkpoint when the text is read, before anything is scored.

    Raises:
        UnknownCharactersError: the text has characters that the model lacks, and ``unknown`` is "error".
        JaxcharError: there is no whole checkpoint, the text cannot be read or is too short, or an option
            does not fit.
    """
    options = options or EvaluationOptions()
    folder = None if per_character is None else ReportFolder(per_character)
    loaded = load_checkpoint(path, weights_structure, which)
    warn(loaded.warnings)
    config = options.applied_to(loaded.metadata.config)
    dataset, is_own = _load_text(config, loaded.metadata, options)
    if not is_own:
        warn(dataset.notice.splitlines())
    _check_asked(options, config, dataset, is_own)
    is_whole = options.split == "whole" or not is_own
    if is_whole:
        config = config.replace(max_windows=None)
    protocols = _protocols(config, dataset, "train" if is_whole else options.split, options.lanes)
    if folder is not None:
        folder.make()
    if on_ready is not None:
        on_ready(loaded)
    scoring = _Scoring(loaded, options, dataset, is_own)
    named = {"text" if is_whole else split: split for split in protocols}
    parts = {name: scoring.part(name, split, protocols[split], folder) for name, split in named.items()}
    return EvaluationReport(
        checkpoint=loaded.path,
        step=loaded.metadata.step,
        corpus=" ".join(dataset.identity.source),
        protocol=config.protocol,
        replaced=dataset.replaced,
        left_out=dataset.left_out,
        splits={name: part.scored.evaluation for name, part in parts.items()},
        files={name: part.files for name, part in parts.items() if part.files},
        with_memory={
            name: part.scored.with_memory for name, part in parts.items() if part.scored.with_memory
        },
        dynamic={name: part.dynamic for name, part in parts.items() if part.dynamic is not None},
    )


def score_validation(loaded: Loaded, dataset: Dataset) -> Scored:
    """Return the figures of a checkpoint on the validation text of its run, which is at hand.

    Args:
        loaded: the checkpoint.
        dataset: the run's text; its validation text is not empty.
    """
    protocol = evaluation_batches(loaded.metadata.config, len(dataset.splits["validation"]))
    scoring = _Scoring(loaded, EvaluationOptions(), dataset, is_own=True)
    return scoring.figures("validation", scoring.predictions("validation", protocol), protocol)


class _Scoring:
    """A checkpoint and a text that it predicts, split by split."""

    def __init__(self, loaded: Loaded, options: EvaluationOptions, dataset: Dataset, is_own: bool) -> None:
        config, vocabulary = loaded.metadata.config, loaded.metadata.vocabulary
        self._graphdef, _ = model_structure(config, len(vocabulary))
        (self._weights,) = loaded.state.values()
        self._memory = _memory_to_score_with(loaded, options, is_own)
        self._training_ids = _training_ids(loaded, dataset, is_own)
        self._countings = COUNTINGS[:1] if options.memory == "static" else COUNTINGS
        self._dataset = dataset
        self._is_own = is_own
        self._options = options

    def part(self, name: str, split: str, protocol: Protocol, folder: ReportFolder | None) -> _Part:
        """Score one split; where there is a folder, write each character's surprise under a name."""
        predictions = self.predictions(split, protocol)
        scored = self.figures(split, predictions, protocol)
        dynamic, files = None, []
        if self._options.dynamic and not self.is_training_text(split):
            dynamic = self.figures(split, self.dynamic_predictions(split), protocol)
        if folder is not None:
            files = _write_report(folder, name, self._dataset, self._dataset.splits[split], predictions)
        return _Part(scored, dynamic, files)

    def is_training_text(self, split: str) -> bool:
        """Whether the weights were trained on a split."""
        return self._is_own and split == "train"

    @pinned()
    def predictions(self, split: str, protocol: Protocol) -> Predictions:
        """Return what the network predicts of a split."""
        return predict(self._graphdef, self._weights, self._dataset.splits[split], protocol)

    @pinned()
    def dynamic_predictions(self, split: str) -> Predictions:
        """Return what the network predicts of a split if it goes on learning as it reads."""
        ids = np.asarray(self._dataset.splits[split])
        return learn_while_reading(self._graphdef, self._weights, ids, self._training_ids).predictions

    def figures(self, split: str, predictions: Predictions, protocol: Protocol) -> Scored:
        """Sum up the predictions of a split, without and with the memory."""
        losses: dict[Counting, Estimate] = {}
        if self._memory is not None:
            own = self.is_training_text(split)
            losses = losses_with_memory(
                self._memory,
                np.asarray(self._dataset.splits[split]),
                predictions,
                protocol,
                COUNTINGS[:1] if own else self._countings,
                is_own_text=own,
            )
        return Scored(Evaluation.of(predictions, protocol), losses)


def _training_ids(loaded: Loaded, dataset: Dataset, is_own: bool) -> np.ndarray:
    """Return the ids of the text that a checkpoint was trained on; none where it is not at hand."""
    if is_own:
        return np.asarray(dataset.splits["train"])
    return np.empty(0, np.uint8) if loaded.memory is None else loaded.memory.ids


def _memory_to_score_with(loaded: Loaded, options: EvaluationOptions, is_own: bool) -> TextMemory | None:
    """Return what the checkpoint remembers, if it is to be asked: not of a text of which it holds a part."""
    if options.memory == "none" or (is_own and options.split == "whole"):
        return None
    return loaded.memory


def _write_report(
    folder: ReportFolder, name: str, dataset: Dataset, ids: Any, predictions: Predictions
) -> list[str]:
    """Write each character's surprise into files; return their paths."""
    title = f"{' '.join(dataset.identity.source)}, {name}"
    return folder.write(name, title, dataset.vocabulary, ids, predictions)


def _load_text(config: Config, trained: Metadata, options: EvaluationOptions) -> tuple[Dataset, bool]:
    """Return the text to score, and whether it is the run's own."""
    vocabulary, unknown = trained.vocabulary, options.unknown
    try:
        if options.corpus is None:
            return load_own_dataset(config, vocabulary, trained.corpus, unknown), True
        return load_own_or_other(config, vocabulary, trained.corpus, unknown)
    except UnknownCharactersError as error:
        raise UnknownCharactersError(
            f"{error}, with --unknown skip or --unknown replace",
            in_python=f"{error}, with unknown='skip' or unknown='replace'",
        ) from error


def _check_asked(options: EvaluationOptions, config: Config, dataset: Dataset, is_own: bool) -> None:
    """Raise a JaxcharError if what is asked for does not go with the text, or with the model."""
    split = options.split
    if not is_own and split not in ("all", "whole"):
        raise JaxcharError(
            f"--split={split} is for the run's own text, but {' '.join(dataset.identity.source)!r} has "
            "another SHA-256; leave --split out, and the text is scored whole"
        )
    if options.dynamic:
        check_dynamic(config)
        if is_own and split in ("train", "whole"):
            raise JaxcharError(
                "--dynamic is for text that the network was not trained on, but --split is "
                f"{split}; leave one of them out"
            )


def _protocols(config: Config, dataset: Dataset, chosen: str, lanes: int | None) -> dict[str, Protocol]:
    """Return how each of the chosen splits is read; of "all" splits, those that have characters."""
    protocols: dict[str, Protocol] = {}
    for split in SPLITS if chosen == "all" else (chosen,):
        num_chars = len(dataset.splits[split])
        if num_chars == 0 and chosen == "all":
            continue
        protocols[split] = evaluation_batches(config, num_chars, split)
        if config.protocol == "stateful" and lanes:
            protocols[split] = stateful_pass(num_chars, lanes)
    return protocols

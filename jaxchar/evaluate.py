"""Score a trained model on text: ``python -m jaxchar.evaluate --ckpt runs/mine --json``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jaxchar.console import one_line_errors, parse, warn
from jaxchar.errors import JaxcharError
from jaxchar.tables import evaluation_table

if TYPE_CHECKING:  # these import JAX, which --help need not wait for
    from jaxchar.config import Config
    from jaxchar.dataset import Dataset
    from jaxchar.score import Protocol

SPLITS = ("train", "validation", "test")
PROTOCOL_OF = {"block": "blocks", "stride": "windows", "lanes": "stateful"}  # whose option each is


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Score a trained model on its corpus, or on any other text."""

    ckpt: str  # a run folder, its checkpoints folder, or one checkpoint's folder
    corpus: tuple[str, ...] | None = None  # another text, scored whole; None: the checkpoint's own splits
    split: Literal["all", "train", "validation", "test"] = "all"  # of the checkpoint's own corpus
    # A stateful pass, cold blocks, or windows as in training; None: as the run was evaluated.
    protocol: Literal["stateful", "blocks", "windows"] | None = None
    block: int | None = None  # characters a cold block; None: as in the run's settings
    stride: int | None = None  # windows: characters from one to the next; None: as in the run's settings
    lanes: int | None = None  # of a stateful pass; 1 is a single pass; None: 1 for every 8,192 characters
    which: Literal["last", "best"] = "last"  # of a run's checkpoints
    # A folder for each character's surprise: a CSV file and a coloured HTML page for every split scored.
    per_character: str | None = None
    json: bool = False  # print one JSON object

    def __post_init__(self) -> None:
        for name in PROTOCOL_OF:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise JaxcharError(f"{name} must be a whole number of 1 or more, but it is {value}")
        if self.corpus is not None and self.split != "all":
            raise JaxcharError("--split is for the checkpoint's own corpus; another --corpus is scored whole")


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate as the command line says; figures on standard output."""
    with one_line_errors():
        typed = parse(Arguments, door="jaxchar.evaluate", arguments=arguments)
        result = evaluate(typed)
        if typed.json:
            print(json.dumps(result))
        else:
            evaluation_table(result)


def evaluate(typed: Arguments) -> dict[str, Any]:
    """Return the figures of every split asked for, as a JSON object; write the files asked for."""
    from jaxchar.checkpoint import load_checkpoint
    from jaxchar.dataset import load_dataset, refuse_another_corpus
    from jaxchar.devices import keep_what_is_compiled
    from jaxchar.language_model import from_checkpoint, weights_structure
    from jaxchar.report import ReportFolder
    from jaxchar.score import Evaluation

    keep_what_is_compiled()
    folder = None if typed.per_character is None else ReportFolder(typed.per_character)
    loaded = load_checkpoint(typed.ckpt, weights_structure, typed.which)
    warn(loaded.warnings)
    model = from_checkpoint(loaded)
    config = _settings(loaded.metadata.config, typed)
    dataset = load_dataset(config, model.vocabulary)
    if typed.corpus is None:
        refuse_another_corpus(loaded.metadata.corpus, dataset.identity)
    protocols = _protocols(config, dataset, typed)
    if folder is not None:
        folder.make()
    figures: dict[str, Any] = {}
    for split, protocol in protocols.items():
        ids = dataset.splits[split]
        predictions = model.predictions(ids, protocol)
        name = "text" if typed.corpus else split
        figures[name] = Evaluation.of(predictions, protocol).to_json()
        if folder is not None:
            title = f"{' '.join(dataset.identity.source)}, {name}"
            figures[name]["files"] = folder.write(name, title, model.vocabulary, ids, predictions)
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.metadata.step,
        "corpus": " ".join(dataset.identity.source),
        "protocol": config.protocol,
        "splits": figures,
    }


def _settings(config: "Config", typed: Arguments) -> "Config":
    """Return the checkpoint's settings with those of the command line."""
    if typed.block is not None:
        config = config.replace(eval_block=typed.block)
    if typed.stride is not None:
        config = config.replace(eval_stride=typed.stride)
    if typed.protocol is not None:
        config = config.replace(eval_protocol=typed.protocol)
    if typed.corpus is not None:
        config = config.replace(
            corpus=typed.corpus,
            separator=None,
            val_fraction=0.0,
            test_fraction=0.0,
            max_chars=None,
            max_windows=None,
        )
    for name, protocol in PROTOCOL_OF.items():
        if getattr(typed, name) is not None and config.protocol != protocol:
            raise JaxcharError(
                f"--{name} is for --protocol {protocol}, but the protocol is {config.protocol}; leave it out"
            )
    return config


def _protocols(config: "Config", dataset: "Dataset", typed: Arguments) -> dict[str, "Protocol"]:
    """Return how each of the splits asked for is read; of all splits, those that have characters."""
    from jaxchar.step import evaluation_batches, stateful_pass

    protocols: dict[str, Any] = {}
    for split in SPLITS if typed.split == "all" else (typed.split,):
        num_chars = len(dataset.splits[split])
        if num_chars == 0 and typed.split == "all":
            continue
        protocols[split] = evaluation_batches(config, num_chars, split)
        if config.protocol == "stateful" and typed.lanes:
            protocols[split] = stateful_pass(num_chars, typed.lanes)
    return protocols


if __name__ == "__main__":
    main()

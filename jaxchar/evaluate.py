"""Score a trained model on text: ``python -m jaxchar.evaluate --ckpt runs/mine --json``."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxchar.cli.messages import one_line_errors, warn
from jaxchar.cli.newest_run import run_to_use, say_model
from jaxchar.cli.parse import parse_command
from jaxchar.errors import JaxcharError
from jaxchar.terminal.tables import evaluation_table

if TYPE_CHECKING:  # these import JAX, which --help need not wait for
    from jaxchar.checkpoint.metadata import Metadata
    from jaxchar.config import Config
    from jaxchar.data.dataset import Dataset
    from jaxchar.scoring.score import Protocol

SPLITS = ("train", "validation", "test")
PROTOCOL_OF = {"block": "blocks", "stride": "windows", "lanes": "stateful"}  # whose option each is


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Score a trained model on its corpus, or on any other text."""

    # A run's folder, its checkpoints folder, or one checkpoint's; none: the newest run in runs/.
    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    ckpt: str | None = None  # the same, as an option
    # The text to score; None: the run's own, where it was. The run's own text is known by its SHA-256,
    # wherever it lies now, and its splits are scored; another text is scored whole.
    corpus: tuple[str, ...] | None = None
    encoding: str | None = None  # of --corpus, where it is not UTF-8; None: as in training
    # Of the run's own text; whole: all of it as one.
    split: Literal["all", "train", "validation", "test", "whole"] = "all"
    # A stateful pass, cold blocks, or windows as in training; None: as the run was evaluated.
    protocol: Literal["stateful", "blocks", "windows"] | None = None
    block: int | None = None  # characters a cold block; None: as in the run's settings
    stride: int | None = None  # windows: characters from one to the next; None: as in the run's settings
    lanes: int | None = None  # of a stateful pass; 1 is a single pass; None: 1 for every 8,192 characters
    # Characters of the text that the model lacks. skip: leave them out; replace: take their other case, or
    # a space.
    unknown: Literal["error", "skip", "replace"] = "error"
    # Of the run's checkpoints; None: the best, where the run was validated, else the last.
    which: Literal["last", "best"] | None = None
    # A folder for each character's surprise: a CSV file and a coloured HTML page for every split scored.
    per_character: str | None = None
    json: bool = False  # print one JSON object

    def __post_init__(self) -> None:
        for name in PROTOCOL_OF:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise JaxcharError(f"{name} must be a whole number of 1 or more, but it is {value}")
        if self.encoding is not None and self.corpus is None:
            raise JaxcharError("--encoding is that of --corpus; leave it out, or give a --corpus")


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate as the command line says; figures on standard output."""
    with one_line_errors():
        typed = parse_command(Arguments, "evaluate", arguments)
        result = evaluate(typed)
        if typed.json:
            print(json.dumps(result))
        else:
            evaluation_table(result)


def evaluate(typed: Arguments) -> dict[str, Any]:
    """Return the figures of every split asked for, as a JSON object; write the files asked for."""
    run = run_to_use(typed)
    from jaxchar.cache import keep_what_is_compiled
    from jaxchar.checkpoint.find import load_checkpoint
    from jaxchar.checkpoint.weights import weights_structure
    from jaxchar.data.vocabulary import UnknownCharactersError
    from jaxchar.language_model import from_checkpoint
    from jaxchar.scoring.report import ReportFolder
    from jaxchar.scoring.score import Evaluation

    keep_what_is_compiled()
    folder = None if typed.per_character is None else ReportFolder(typed.per_character)
    loaded = load_checkpoint(run, weights_structure, typed.which)
    warn(loaded.warnings)
    model = from_checkpoint(loaded)
    config = _settings(loaded.metadata.config, typed)
    try:
        dataset, whole = _text(config, loaded.metadata, typed)
    except UnknownCharactersError as error:
        raise UnknownCharactersError(f"{error}, with --unknown skip or --unknown replace") from error
    if whole:
        config = config.replace(max_windows=None)
    protocols = _protocols(config, dataset, "train" if whole else typed.split, typed.lanes)
    if folder is not None:
        folder.make()
    say_model(typed, run, loaded)
    figures: dict[str, Any] = {}
    for split, protocol in protocols.items():
        ids = dataset.splits[split]
        predictions = model.predictions(ids, protocol)
        name = "text" if whole else split
        figures[name] = Evaluation.of(predictions, protocol).to_json()
        if folder is not None:
            title = f"{' '.join(dataset.identity.source)}, {name}"
            figures[name]["files"] = folder.write(name, title, model.vocabulary, ids, predictions)
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.metadata.step,
        "corpus": " ".join(dataset.identity.source),
        "protocol": config.protocol,
        "unknown": {"replaced": dataset.replaced, "left_out": dataset.left_out},
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
        config = config.replace(corpus=typed.corpus)
    if typed.encoding is not None:
        config = config.replace(encoding=typed.encoding)
    if typed.split == "whole":
        config = config.replace(separator=None, val_fraction=0.0, test_fraction=0.0)
    for name, protocol in PROTOCOL_OF.items():
        if getattr(typed, name) is not None and config.protocol != protocol:
            raise JaxcharError(
                f"--{name} is for --protocol {protocol}, but the protocol is {config.protocol}; leave it out"
            )
    return config


def _text(config: "Config", trained: "Metadata", typed: Arguments) -> tuple["Dataset", bool]:
    """Return the text to score, and whether it is scored whole rather than in its splits."""
    from jaxchar.data.dataset import load_own_dataset, load_own_or_other

    if typed.corpus is None:
        return load_own_dataset(
            config, trained.vocabulary, trained.corpus, typed.unknown
        ), typed.split == "whole"
    dataset, is_own = load_own_or_other(config, trained.vocabulary, trained.corpus, typed.unknown)
    if not is_own:
        warn(dataset.notice.splitlines())
        if typed.split not in ("all", "whole"):
            raise JaxcharError(
                f"--split {typed.split} is for the run's own text, but {' '.join(dataset.identity.source)!r} "
                "has another SHA-256; leave --split out, and the text is scored whole"
            )
    return dataset, typed.split == "whole" or not is_own


def _protocols(config: "Config", dataset: "Dataset", chosen: str, lanes: int | None) -> dict[str, "Protocol"]:
    """Return how each of the splits asked for is read; of all splits, those that have characters."""
    from jaxchar.training.step import evaluation_batches, stateful_pass

    protocols: dict[str, Any] = {}
    for split in SPLITS if chosen == "all" else (chosen,):
        num_chars = len(dataset.splits[split])
        if num_chars == 0 and chosen == "all":
            continue
        protocols[split] = evaluation_batches(config, num_chars, split)
        if config.protocol == "stateful" and lanes:
            protocols[split] = stateful_pass(num_chars, lanes)
    return protocols


if __name__ == "__main__":
    main()

"""Score a trained model on text: ``python -m jaxchar.evaluate --ckpt runs/mine --json``."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxchar.console import evaluation_table, one_line_errors, parse
from jaxchar.errors import JaxcharError

MOST_LOSS = 700.0  # beyond it the perplexity is no number
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Score a trained model on its corpus, or on any other text."""

    ckpt: str  # a run folder, its checkpoints folder, or one checkpoint's folder
    corpus: tuple[str, ...] | None = None  # another text, scored whole; None: the checkpoint's own splits
    split: Literal["all", "train", "validation", "test"] = "all"  # of the checkpoint's own corpus
    # A stateful pass, cold blocks, or windows as in training; None: as the run was evaluated.
    protocol: Literal["stateful", "blocks", "windows"] | None = None
    block: int | None = None  # characters a cold block; None: as in the run's settings
    lanes: int | None = None  # of a stateful pass; 1 is a single pass; None: 1 for every 8,192 characters
    which: Literal["last", "best"] = "last"  # of a run's checkpoints
    json: bool = False  # print one JSON object

    def __post_init__(self) -> None:
        for name in ("block", "lanes"):
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
    """Return the figures of every split asked for, as a JSON object."""
    from jaxchar.checkpoint import load_checkpoint
    from jaxchar.dataset import load_dataset, refuse_another_corpus
    from jaxchar.language_model import from_checkpoint, weights_structure
    from jaxchar.loss import bits_per_char
    from jaxchar.step import evaluation_batches, stateful_pass

    loaded = load_checkpoint(typed.ckpt, weights_structure, typed.which)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    model = from_checkpoint(loaded)
    config = loaded.metadata.config
    if typed.block is not None:
        config = config.replace(eval_block=typed.block)
    if typed.protocol is not None:
        config = config.replace(eval_protocol=typed.protocol)
    if typed.corpus is not None:
        config = config.replace(
            corpus=typed.corpus, val_fraction=0.0, test_fraction=0.0, max_chars=None, max_windows=None
        )
    dataset = load_dataset(config, model.vocabulary)
    if typed.corpus is None:
        refuse_another_corpus(loaded.metadata.corpus, dataset.identity)
    figures = {}
    for split in SPLITS if typed.split == "all" else (typed.split,):
        ids = dataset.splits[split]
        if len(ids) == 0 and typed.split == "all":
            continue
        batches = evaluation_batches(config, len(ids), split)
        if config.protocol == "stateful" and typed.lanes:
            batches = stateful_pass(len(ids), typed.lanes)
        means = model.evaluate(ids, batches)
        figures["text" if typed.corpus else split] = {
            "loss": means.loss,
            "bits_per_char": bits_per_char(means.loss),
            "perplexity": math.exp(min(means.loss, MOST_LOSS)),
            "accuracy": means.accuracy,
            "predictions": means.count,
        }
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.metadata.step,
        "corpus": " ".join(dataset.identity.source),
        "protocol": config.protocol,
        "splits": figures,
    }


if __name__ == "__main__":
    main()

"""Which settings suit a text: chosen from its length and symbols, the time there is, and the machine's speed.

A pure function, :func:`choose`, of numbers, and of one question that it may ask: how many seconds does a step
of these settings take on this machine? What the user has set is kept, and the rest is chosen around it.

The rules are fitted to trainings on texts of 13,500 to 4.2 million characters, on two processor cores, each
judged on the last tenth of its *training* text; experiments/RECIPE.md has the figures.

    size      grows with the fourth root of the arithmetic that there is time for, and is no larger than
              the text can use.
    step      B x T characters a step grow with the text, and so do the learning rates.
    length    as many passes over the text as there is time for, up to where more have stopped to help. The
              more characters they come to, the lower are the learning rates.
    dropout   grows with the logarithm of weights x passes / characters: how often each weight is shown
              each character, which is the chance to learn the text by heart.

Letters: B lanes, T time steps of a lane a step, H hidden size, V symbols.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxchar.config import Config
from jaxchar.own_cells import is_registered

SecondsPerStep = Callable[[Config], float]

# How long a run is, and what is done on the way.
LENGTH = (
    "epochs",
    "max_steps",
    "warmup_steps",
    "hold_until",
    "ema_decay",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "sample_every",
)
# The settings that are chosen where the user does not set them.
CHOSEN = (
    *LENGTH,
    "separator",
    "val_fraction",
    "batch_size",
    "seq_len",
    "lane_offsets",
    "cell",
    "hidden_size",
    "embedding_size",
    "tie_embeddings",
    "dropout",
    "input_dropout",
    "recurrent_dropout",
    "weight_dropout",
    "optimizer",
    "learning_rate",
    "muon_learning_rate",
    "clip_norm",
    "schedule",
    "sample_from",
    "sample_prompt",
)

DEFAULT_MINUTES = 3.0  # what a person waits for with pleasure
LEAST_STEPS = 40  # fewer are no training
MOST_HELD_OUT = 500_000  # characters: a loss that is exact to 0.002 nats, in some seconds

# GRU 304 is what a minute at this speed was tuned for, on tiny Shakespeare (experiments/shakespeare.py).
REFERENCE_CHARS_PER_SECOND = 47_000
REFERENCE_SIZE = 304
SIZE_TOLERANCE = 0.15  # a size nearer than this to the better one is kept: to measure another costs seconds
FULL_STEP = 2048  # characters a step, with which the learning rates are the highest
LEARNING_RATES = {"muon": 0.025, "adamw": 4e-3, "adam": 4e-3, "rmsprop": 2e-3, "adagrad": 0.1, "sgd": 1.0}
MUON_LEARNING_RATE = 0.03
LONG_RUN = 5e6  # characters read in a run, from which on its learning rates fall with their square root
MANY_SYMBOLS = 500  # from which on a head of its own takes more time than the recurrence
EMBEDDING_SIZE = 128  # with many symbols
# Of the steps, during which the learning rate stays at its highest value: nothing depends yet on how long the
# run is, so that its length can be corrected once by how fast the machine really is.
HELD_SHARE = 0.125
MOST_AVERAGED = 500  # steps whose weights are averaged, about
EVALUATIONS, SAMPLES = 12, 6  # of a run
EVALUATION_COST = 0.4  # of a character, in characters of training
EVALUATION_SHARE = 0.12  # of the time, at the most


class TextFacts(NamedTuple):
    """What the recipe knows of a text."""

    num_chars: int  # of the whole text, held-out part included
    symbols: str  # every one once


class Recipe(NamedTuple):
    """What was chosen, and what it comes to."""

    config: Config
    passes: float  # over the training text
    seconds: float  # of training and evaluation, as measured beforehand
    more_time_helps: bool
    most_steps: int  # after which more of them help too little to be waited for


def choose(
    facts: TextFacts,
    given: Mapping[str, Any],
    seconds_left: Callable[[], float],
    seconds_per_step: SecondsPerStep,
) -> Recipe:
    """Return the settings for a text, as plain numbers.

    Args:
        facts: the text.
        given: settings that the user has chosen, by name; none of them is changed.
        seconds_left: tells how many seconds training and evaluation may take together; measuring takes
            some of them, so it is asked again.
        seconds_per_step: measures a step of a configuration on this machine. It is asked twice at most.

    Raises:
        JaxcharError: a given setting is out of range, or two of them contradict each other.
    """
    text = _Text(facts, given)
    config = _shape(text, given, _hidden_size(text, given, REFERENCE_CHARS_PER_SECOND * seconds_left()))
    step_seconds = seconds_per_step(config)
    chars = seconds_left() / step_seconds * config.batch_size * config.seq_len
    better = _shape(
        text, given, _hidden_size(text, given, chars * (_equal_gru(config) / REFERENCE_SIZE) ** 2)
    )
    if abs(math.log(_equal_gru(better) / _equal_gru(config))) > SIZE_TOLERANCE:
        config, step_seconds = better, seconds_per_step(better)
    return _with_length(text, given, config, seconds_left(), step_seconds)


class _Text:
    """A text's sizes."""

    def __init__(self, facts: TextFacts, given: Mapping[str, Any]) -> None:
        fraction = round(min(0.1, MOST_HELD_OUT / facts.num_chars), 4)
        self.val_fraction = given.get("val_fraction", fraction)
        self.val_chars = round(facts.num_chars * self.val_fraction)
        held_out = self.val_chars + round(facts.num_chars * given.get("test_fraction", 0.0))
        self.train_chars = max(1, facts.num_chars - held_out)
        self.symbols = facts.symbols


# ---- the shape of model and step -----------------------------------------------------------------


def _hidden_size(text: _Text, given: Mapping[str, Any], chars: float) -> int:
    """Return H for as much arithmetic as that many characters are to the reference model."""
    for_time = REFERENCE_SIZE * (chars / (60 * REFERENCE_CHARS_PER_SECOND)) ** 0.25
    for_text = 400 * (text.train_chars / 90_000) ** 0.3
    gates = {"lstm": 4 / 3, "rnn": 1 / 3}.get(given.get("cell", "gru"), 1.0)
    size = min(for_time, for_text) / math.sqrt(gates * given.get("num_layers", 1))
    return max(64, 16 * round(size / 16))


def _shape(text: _Text, given: Mapping[str, Any], hidden_size: int) -> Config:
    """Return everything but the length of a run and what depends on it."""
    streams = given.get("batching", "streams") == "streams"
    batch_size, seq_len = _step_shape(text, given)
    predictions = _predictions(batch_size, seq_len, given.get("return_sequences", True))
    of_full = min(1.0, predictions / FULL_STEP)
    own_cell = is_registered(given.get("cell"))  # which Muon and dropout inside the recurrence are not for
    optimizer = given.get("optimizer", "adamw" if own_cell else "muon")
    small = text.train_chars < 40_000
    many_symbols = not small and len(text.symbols) > MANY_SYMBOLS
    embedding_size = 24 if small else EMBEDDING_SIZE if many_symbols or given.get("tie_embeddings") else 0
    chosen = {
        "val_fraction": text.val_fraction,
        "batch_size": batch_size,
        "seq_len": seq_len,
        "lane_offsets": streams and given.get("separator") is None,
        "cell": "gru",
        "hidden_size": hidden_size,
        "embedding_size": embedding_size,
        "tie_embeddings": many_symbols and given.get("embedding_size", embedding_size) > 0,
        "input_dropout": 0.1 if small else 0.0,
        "dropout": 0.2,  # costs time, so it is there when time is measured; see _with_length
        "recurrent_dropout": 0.0 if own_cell else 0.1,
        "optimizer": optimizer,
        "learning_rate": _rounded(LEARNING_RATES.get(optimizer, LEARNING_RATES["adam"]) * of_full**0.5),
        "muon_learning_rate": _rounded(MUON_LEARNING_RATE * of_full**0.25),
        "clip_norm": 1.0,
        "schedule": "linear",
        "epochs": 1_000,
        "warmup_steps": 30,
        "ema_decay": 0.99,
    }
    if given.get("separator") or "\n" in text.symbols:
        chosen |= {"sample_from": "prompt", "sample_prompt": given.get("separator") or "\n"}
    return Config(**{**chosen, **given})


def _step_shape(text: _Text, given: Mapping[str, Any]) -> tuple[int, int]:
    """Return B and T: 4 x 32 for the smallest texts, 32 x 64 for large ones."""
    chars = min(2048.0, 128 * max(1.0, text.train_chars / 13_500) ** 1.1, max(1.0, text.train_chars / 8))
    seq_len = given.get("seq_len", max(1, min(64 if chars >= 512 else 32, int(chars) // 2)))
    devices = given.get("devices") or 1  # which share a batch evenly
    return given.get("batch_size", devices * max(1, round(chars / seq_len / devices))), seq_len


def _predictions(batch_size: int, seq_len: int, return_sequences: bool) -> int:
    """Return how many characters a step predicts."""
    return batch_size * (seq_len if return_sequences else 1)


# ---- the length of the run, and what follows from it ----------------------------------------------


def _with_length(
    text: _Text, given: Mapping[str, Any], config: Config, seconds: float, step_seconds: float
) -> Recipe:
    per_pass = _steps_per_pass(text, config)
    evaluation = evaluation_seconds(config, text.val_chars, step_seconds)
    evaluations = max(2, min(EVALUATIONS, int(EVALUATION_SHARE * seconds / max(evaluation, 1e-9))))
    affordable = max(LEAST_STEPS, (seconds - evaluations * evaluation) / step_seconds)
    most = _most_passes(text, seconds) * per_pass
    length = length_of_run(given, min(affordable, most), per_pass)
    total = min(length["max_steps"] or math.inf, length["epochs"] * per_pass)
    every = max(1, math.ceil(total / evaluations))
    chosen = {
        **length,
        **_regularization(text, config, total / per_pass),
        **_learning_rates(config, total),
        "warmup_steps": min(30, int(total) // 10),
        "hold_until": int(total * HELD_SHARE),
        "ema_decay": round(1 - 1 / max(2.0, min(MOST_AVERAGED, total / 3)), 4),
        "log_every": max(1, min(50, int(total) // 50)),
        "eval_every": every,
        "checkpoint_every": every,
        "sample_every": every * max(1, round(evaluations / SAMPLES)),  # right after an evaluation
    }
    config = config.replace(**{name: value for name, value in chosen.items() if name not in given})
    return Recipe(
        config,
        total / per_pass,
        total * step_seconds + evaluations * evaluation,
        more_time_helps=affordable < 0.9 * most,
        most_steps=int(most),
    )


def evaluation_seconds(config: Config, val_chars: int, step_seconds: float) -> float:
    """Return how long an evaluation takes, about, where a training step takes so many seconds."""
    return val_chars * step_seconds / (config.batch_size * config.seq_len) * EVALUATION_COST


def _most_passes(text: _Text, seconds: float) -> float:
    """Return after how many passes over a text more of them help too little to be waited for."""
    # Who gives more time than usual waits for what is little, too.
    patience = min(2.0, max(1.0, math.sqrt(seconds / (60 * DEFAULT_MINUTES))))
    return 80 * (13_500 / text.train_chars) ** 0.4 * patience


def length_of_run(given: Mapping[str, Any], steps: float, per_pass: int) -> dict[str, Any]:
    """Return epochs and max_steps for about so many steps: whole passes where there are many.

    Args:
        given: settings that the user has chosen, by name.
        steps: wanted.
        per_pass: steps of a pass over the text.
    """
    if "epochs" in given:
        return {"epochs": given["epochs"], "max_steps": given.get("max_steps")}
    if "max_steps" in given:
        steps = given["max_steps"]
    elif steps >= 8 * per_pass:
        return {"epochs": int(steps) // per_pass, "max_steps": None}
    steps = max(1, int(steps))
    return {"epochs": math.ceil(steps / per_pass), "max_steps": steps}


def _regularization(text: _Text, config: Config, passes: float) -> dict[str, float]:
    """Return dropouts that keep a text from being learned by heart, and no more of them."""
    rehearsals = math.log(max(1.0, _weights(config, len(text.symbols)) * passes / text.train_chars))
    dropout = min(0.55, 0.12 * rehearsals)
    if is_registered(config.cell):
        return {"dropout": round(dropout, 2)}
    return {
        "dropout": round(dropout, 2),
        "recurrent_dropout": round(dropout / 2, 2),
        "weight_dropout": round(min(0.3, max(0.0, 0.2 * (rehearsals - 4.5))), 2),
    }


def _learning_rates(config: Config, steps: float) -> dict[str, float]:
    """Return lower learning rates for a long run: at high ones it walks about and does not get better."""
    characters = steps * _predictions(config.batch_size, config.seq_len, config.return_sequences)
    share = math.sqrt(min(1.0, LONG_RUN / max(1.0, characters)))
    return {name: _rounded(getattr(config, name) * share) for name in ("learning_rate", "muon_learning_rate")}


def _steps_per_pass(text: _Text, config: Config) -> int:
    if config.batching == "streams":
        return max(1, (text.train_chars - 1) // config.batch_size // config.seq_len)
    windows = max(1, -(-(text.train_chars - config.seq_len) // config.stride))
    return -(-min(windows, config.max_windows or windows) // config.batch_size)


def _equal_gru(config: Config) -> float:
    """Return the size of the one layer of GRU that takes as much arithmetic as all layers."""
    gates = {"lstm": 4, "rnn": 1}.get(config.cell, 3)
    return math.sqrt(gates / 3 * sum(size**2 for size in config.layer_sizes))


def _weights(config: Config, num_symbols: int) -> float:
    """Return about how many weights a model has, those of the input table left out."""
    head = config.embedding_size if config.tie_embeddings else config.layer_sizes[-1]
    return 3 * _equal_gru(config) ** 2 + num_symbols * head


def _rounded(value: float) -> float:
    """Return a number with two significant digits, as a person would write it."""
    return float(f"{value:.2g}")

"""Every setting of a run, its unit and its default, checked when it is made; to and from JSON.

The settings are grouped by what reads them (``ModelConfig`` for the model, and so on);
``Config`` is all groups in one flat record, so ``Config(corpus="my.txt", epochs=5)`` is all it takes.
This module imports neither JAX nor NumPy: ``--help`` must be instant.
"""

import codecs
import dataclasses
import decimal
import difflib
import encodings.aliases
import json
import numbers
import operator
import os
import types
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxchar.errors import JaxcharError, in_callers_words, quoted
from jaxchar.own_cells import OwnCellNames
from jaxchar.text import Text, check_not_text, is_no_path


class Interval(NamedTuple):
    """The range of a number; ``ends`` as in mathematics: "[)" is from low to below high."""

    low: float
    high: float
    ends: str = "[]"

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        above = value > self.low if self.ends[0] == "(" else value >= self.low
        below = value < self.high if self.ends[1] == ")" else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"above {self.low:,}" if self.ends[0] == "(" else f"of at least {self.low:,}"
        high = f"below {self.high:,}" if self.ends[1] == ")" else f"at most {self.high:,}"
        return f"{low} and {high}"


# Codecs of Python that are not encodings of text files.
NO_ENCODINGS_OF_FILES = frozenset(
    (
        "charmap",
        "idna",
        "mbcs",
        "oem",
        "palmos",
        "punycode",
        "raw_unicode_escape",
        "undefined",
        "unicode_escape",
    )
)

Count = Annotated[int, Interval(1, 10**9)]
CountOrZero = Annotated[int, Interval(0, 10**9)]
Width = Annotated[int, Interval(1, 65_536)]
Rate = Annotated[float, Interval(0, 100, "(]")]
Scale = Annotated[float, Interval(0, 1_000_000, "(]")]
ScaleOrZero = Annotated[float, Interval(0, 1_000_000)]
Probability = Annotated[float, Interval(0, 1, "[)")]  # below 1: a dropout rate, a decay
Fraction = Annotated[float, Interval(0, 1)]
Seed = Annotated[int, Interval(0, 2**32 - 1)]
Temperature = Annotated[float, Interval(0, 1_000)]  # 0 means greedy
OwnCellName = Annotated[str, OwnCellNames()]
Precision = Literal["highest", "tf32", "default"]  # of products, see ModelConfig


class _Checked:
    """A record that refuses values outside the declared types and ranges of its fields."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            given = getattr(self, name)
            value = _plain(given)
            if _is_list_only(hint) and not isinstance(value, tuple | types.NoneType):
                value = (value,)  # a single item may be given without a list
            problem = _problem_with(value, hint)
            if problem:
                flag = name.replace("_", "-")
                raise JaxcharError(f"--{flag} must be {problem}, but it is {quoted(given)}")
            object.__setattr__(self, name, value)


Part = TypeVar("Part", bound=_Checked)


def part_of(settings: _Checked, group: type[Part], **others: Any) -> Part:
    """Return those of some settings that belong to a group; ``others`` are set beside them."""
    names = {field.name for field in dataclasses.fields(group)}  # type: ignore[arg-type]
    return group(**{name: getattr(settings, name) for name in names - set(others)}, **others)


def _is_list_only(hint: Any) -> bool:
    """Whether a type hint allows only lists, or lists and None."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return {get_origin(option) for option in options if option is not types.NoneType} == {tuple}


def _plain(value: Any) -> Any:
    """Return numbers, texts and lists of any kind, also of NumPy and JAX, as Python's own types.

    Other values are returned as they are. With Python's types, JSON, hashing and comparing work, and no type
    of another library enters the arithmetic.
    """
    if isinstance(value, bool | Text) or type(value) in (int, float, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    try:
        if hasattr(value, "dtype") and hasattr(value, "tolist"):  # an array, or one number of it
            return _plain_array(value)
        if hasattr(value, "__index__"):
            return operator.index(value)
        if isinstance(value, numbers.Real | decimal.Decimal):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        return value
    return tuple(map(_plain, value)) if _is_listed(value) else value


def _plain_array(value: Any) -> Any:
    listed = value.tolist()
    if isinstance(listed, list):
        return tuple(map(_plain, listed))
    if isinstance(listed, bool | int | float | str):
        return listed
    return float(listed) if hasattr(listed, "__float__") else value  # a bfloat16 is not a float


def _plain_paths(value: Any) -> Any:
    """Return path-like objects, one or several, as texts; other values as they are."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    return tuple(map(_plain_paths, value)) if _is_listed(value) else value


def _is_listed(value: Any) -> bool:
    """Whether a value is a sequence or an iterator of several values."""
    listed = isinstance(value, Sequence | Iterator)
    return listed and not isinstance(value, str | bytes | bytearray | memoryview)


def _problem_with(value: Any, hint: Any) -> str | None:
    """Return what ``value`` should be, in words, or None if it fits the type hint."""
    origin = get_origin(hint)
    if origin is Annotated:
        kind, interval = get_args(hint)
        if kind is str:
            return None if value in interval else str(interval)
        if _problem_with(value, kind) or value not in interval:
            return f"{'a whole number' if kind is int else 'a number'} {interval}"
        return None
    if origin is Literal:
        return None if value in get_args(hint) else "one of " + ", ".join(map(repr, get_args(hint)))
    if origin in (Union, types.UnionType):
        problems = [_problem_with(value, kind) for kind in get_args(hint)]
        return None if None in problems else " or ".join(dict.fromkeys(filter(None, problems)))
    if origin is tuple:
        if not isinstance(value, tuple) or not value:
            return f"a list, each item {_problem_with(None, get_args(hint)[0])}"
        return next(filter(None, (_problem_with(item, get_args(hint)[0]) for item in value)), None)
    if hint is float:
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if hint is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if hint is types.NoneType:
        return None if value is None else "None"
    return None if isinstance(value, hint) else {str: "a str", bool: "True or False"}[hint]


def _encoding_name(typed: str) -> str:
    """Return Python's name of a text encoding."""
    try:
        found = codecs.lookup(typed)
        is_text = getattr(
            found, "_is_text_encoding", True
        )  # False for Python's "hex" and "zip", for instance
        if is_text and found.name.replace("-", "_") not in NO_ENCODINGS_OF_FILES:
            return found.name.removesuffix("-sig")
    except (LookupError, ValueError):  # ValueError: a null character
        pass
    near = difflib.get_close_matches(typed.lower().replace("-", "_"), encodings.aliases.aliases, n=3)
    hint = f"perhaps {', '.join(near)}" if near else "for instance cp1252, gbk, utf-16-le"
    raise JaxcharError(f"--encoding must be the name of a text encoding ({hint}), but it is {quoted(typed)}")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(_Checked):
    """Which text, which of its characters, and how it is split."""

    # "shakespeare", "nietzsche" or "python"; or files, folders and globs; or "-", standard input.
    # "auto" is shakespeare, or python (the interpreter's own documentation) if that cannot be downloaded.
    # In Python also any path-like object, or a text in memory: jaxchar.Text("...").
    corpus: str | tuple[str, ...] = "auto"
    # Encoding of files that are not UTF-8 and have no byte-order mark: cp1252, gbk, utf-16-le, ... None: such
    # files are refused, with the name of the encoding that they seem to have.
    encoding: str | None = None
    lowercase: bool = False  # lower-case the text
    keep: str | None = None  # characters to keep; every other one is replaced by `fill`; None: keep all
    fill: str = " "  # replaces each character that is not kept
    max_chars: Count | None = None  # use only this many characters from the start of the text
    # What ends each document in a text of many short ones, for instance a line break. Documents are held out
    # at random, and streams read them in another order every epoch. None: the text is one running text.
    separator: str | None = None
    val_fraction: Fraction = 0.1  # share of the text held out for validation, right before the test share
    test_fraction: Fraction = 0.0  # share of the text held out for testing, at its end

    def __post_init__(self) -> None:
        object.__setattr__(self, "corpus", _plain_paths(self.corpus))
        super().__post_init__()
        if self.val_fraction + self.test_fraction >= 1:
            raise JaxcharError(
                "--val-fraction and --test-fraction must leave text to train on (a sum below 1), but they "
                f"are {self.val_fraction} and {self.test_fraction}"
            )
        if not all(self.sources):
            raise JaxcharError("--corpus must be a name or a path, but it is empty")
        for source in filter(is_no_path, self.sources):
            check_not_text(source)
        if self.encoding is not None:  # one name for each encoding
            object.__setattr__(self, "encoding", _encoding_name(self.encoding))
        if self.separator == "":
            raise JaxcharError("--separator must be a text of at least one character, but it is empty")
        if len(self.fill) != 1:
            raise JaxcharError(f"--fill must be exactly one character, but it is {quoted(self.fill)}")

    @property
    def sources(self) -> tuple[str, ...]:
        """The corpus setting as a tuple of one name, or of one or more paths."""
        return (self.corpus,) if isinstance(self.corpus, str) else self.corpus


@dataclass(frozen=True, kw_only=True)
class BatchConfig(_Checked):
    """How sequences are cut from the text."""

    batching: Literal["streams", "windows"] = "streams"  # contiguous lanes, or overlapping windows
    batch_size: Count = 64  # B: parallel streams, or windows per step
    seq_len: Annotated[int, Interval(1, 1_000_000)] = 64  # T: time steps per sequence
    stride: Count = 1  # windows: characters from one window's start to the next
    shuffle: bool = False  # windows: a new order every epoch
    max_windows: Count | None = None  # windows: train on only this many, from the start of the text
    lane_offsets: bool = False  # streams: lanes begin at another position of the text every epoch
    # Begin each step with the state at the end of the previous step. None: yes for streams, no for windows.
    stateful: bool | None = None
    return_sequences: bool = True  # a target at every step, not only after the last one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shuffle and self.stateful:
            raise JaxcharError(
                "--stateful must be False with shuffled windows, which do not follow one another, but it "
                "is True; give --no-shuffle, or --batching=streams"
            )
        if self.batching == "streams" and (self.shuffle or self.stride != 1 or self.max_windows):
            raise JaxcharError(
                "--shuffle, --stride and --max-windows are for --batching=windows, but it is 'streams'"
            )
        if self.batching == "windows" and self.lane_offsets:
            raise JaxcharError("lane_offsets is for batching='streams', but batching is 'windows'")
        if self.batching == "streams" and not self.return_sequences:
            raise JaxcharError(
                "--return-sequences must be True with --batching=streams, where every character is a "
                "target; give --batching=windows for one target after each window"
            )

    @property
    def carries_state(self) -> bool:
        """Whether a step begins with the state at the end of the previous step."""
        return self.batching == "streams" if self.stateful is None else self.stateful


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Checked):
    """The network: input, stacked cells, head."""

    cell: Literal["lstm", "gru", "rnn"] | OwnCellName = "lstm"  # rnn is the plain tanh cell
    hidden_size: Width | tuple[Width, ...] = 512  # H: units of every layer, or one number for each
    num_layers: Annotated[int, Interval(1, 100)] = 1  # L; leave at 1 where hidden_size lists the layers
    embedding_size: Annotated[int, Interval(0, 65_536)] = 0  # size of learned input vectors; 0: one-hot
    tie_embeddings: bool = False  # the head shares the input vectors (Press and Wolf 2017)
    gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"  # hard: clip(0.2 x + 0.5, 0, 1), as Keras 1
    # gru: a second bias, in the recurrent product and so inside the reset gate's, as PyTorch and Keras have.
    recurrent_bias: bool = False
    forget_bias: Annotated[float, Interval(-100, 100)] = 1.0  # initial value of the LSTM's forget bias
    # Initial values of the kernels: the head's, the input's and (unless orthogonal) the recurrent ones.
    kernel_init: Literal["glorot_uniform", "lecun_normal", "uniform", "normal"] = "glorot_uniform"
    recurrent_init: Literal["orthogonal", "same"] = "orthogonal"  # same: as kernel_init
    init_scale: Scale = 0.08  # half-width of "uniform", standard deviation of "normal"
    dropout: Probability = 0.0  # after every layer: between layers and before the head
    input_dropout: Probability = 0.0  # on a layer's input, one mask per sequence (Keras: dropout_W)
    recurrent_dropout: Probability = 0.0  # on h in the recurrence, one mask per sequence (Keras: dropout_U)
    weight_dropout: Probability = 0.0  # on the recurrent kernels, one mask per step (AWD-LSTM's weight drop)
    dtype: Literal["float32", "bfloat16"] = "float32"  # type of matrix products; sums are in float32
    # Of products of float32 numbers. highest: in float32. tf32: rounded to 10 bits, on NVIDIA cards. default:
    # as the device does it unasked (TF32 on NVIDIA cards, bfloat16 on TPUs). On a processor all are the same.
    precision: Precision = "highest"
    # How the recurrence is computed: scan is the reference, fused is faster, native is C++ for CPUs, cuda is
    # for NVIDIA cards and has not been run on one yet. auto: native where it can be built, else fused.
    implementation: Literal["auto", "native", "fused", "scan", "cuda"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.hidden_size, tuple) and self.num_layers not in (1, len(self.hidden_size)):
            raise JaxcharError(
                f"--num-layers must be left out where --hidden-size lists the layers, but they are "
                f"{self.num_layers} and {quoted(self.hidden_size)}"
            )

        if self.recurrent_bias and self.cell != "gru":
            raise JaxcharError(
                f"--recurrent-bias is for --cell=gru, but it is {self.cell!r}, where two biases are one; "
                "leave it out"
            )
        if self.dtype != "float32" and self.precision == "tf32":
            raise JaxcharError(
                f"--precision=tf32 is for products of float32 numbers, but --dtype is {self.dtype!r}; leave "
                "one of them out"
            )
        if self.tie_embeddings and not self.embedding_size:
            raise JaxcharError(
                "--tie-embeddings needs input vectors to share, but --embedding-size is 0; give a size, such "
                "as --embedding-size 64"
            )

    @property
    def drops(self) -> bool:
        """Whether a training step uses dropout of any kind."""
        rates = (self.dropout, self.input_dropout, self.recurrent_dropout, self.weight_dropout)
        return any(rate > 0 for rate in rates)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The hidden size of every layer, first to last."""
        if isinstance(self.hidden_size, tuple):
            return self.hidden_size
        return (self.hidden_size,) * self.num_layers


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(_Checked):
    """The update rule, its schedule, and the weight average."""

    # muon: Muon for the recurrent kernels, AdamW for everything else. custom: one that is given in Python;
    # clipping, learning rate, schedule and decay are its own then.
    optimizer: Literal["adam", "adamw", "muon", "rmsprop", "adagrad", "sgd", "custom"] = "adamw"
    learning_rate: Rate = 4e-3  # the highest value of the schedule
    muon_learning_rate: Rate = 0.03  # the same for the weights that Muon updates
    beta1: Probability = 0.9  # Adam, AdamW: decay of the gradient's average
    beta2: Probability = 0.99  # Adam, AdamW: decay of the squared gradient's average
    epsilon: Annotated[float, Interval(0, 1, "(]")] = 1e-8  # Adam, RMSprop, Adagrad
    rms_decay: Probability = 0.9  # RMSprop: decay of the squared gradient's average
    momentum: Probability = 0.0  # SGD
    weight_decay: Annotated[float, Interval(0, 100)] = 0.0  # AdamW, times the learning rate
    clip_value: ScaleOrZero = 0.0  # clip every gradient element to [-c, c]; 0: off
    clip_norm: ScaleOrZero = 0.0  # scale the gradient to a global norm of at most c; 0: off
    loss_reduction: Literal["mean", "sum"] = "mean"  # over the time steps of a sequence
    # Skip and count steps whose loss or gradient is not finite. Otherwise the run stops at the first one.
    skip_nonfinite: bool = False
    # Of the learning rate. exponential, step: decay at the ends of epochs; linear, cosine: to 0 at the end.
    schedule: Literal["constant", "exponential", "step", "linear", "cosine"] = "constant"
    warmup_steps: CountOrZero = 0  # linear, cosine: steps from 0 up to the highest value
    # linear, cosine: step up to which it stays at the highest value, half of the run at the most. Where the
    # settings of a run are chosen, its length is corrected there, by how fast it was until then.
    hold_until: CountOrZero = 0
    decay_rate: Annotated[float, Interval(0, 1, "(]")] = 0.97  # exponential, step: factor of each decay
    decay_after: CountOrZero = 0  # exponential: epoch at whose end the first decay happens
    decay_every: Count = 1  # exponential, step: epochs between decays
    ema_decay: Probability = 0.0  # decay of the weight average that is used outside training; 0: no average


@dataclass(frozen=True, kw_only=True)
class SamplingParams(_Checked):
    """How to sample a character, see :func:`jaxchar.sampling.filters.draw`."""

    temperature: Temperature = 1.0  # below 1 safer, above 1 wilder; 0 always the most probable
    top_k: CountOrZero = 0  # only the k most probable characters; 0: off
    top_p: Annotated[float, Interval(0, 1, "(]")] = 1.0  # only the fewest that together have p; 1: off
    min_p: Fraction = 0.0  # only those with at least p times the most probable one's share; 0: off

    @property
    def filters(self) -> bool:
        """Whether characters are filtered out, at any temperature."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


# How many bits the recurrent weights have when a model writes, see jaxchar.model.narrow_weights.
Weights = Literal["float32", "bfloat16", "int8"]
# Longest context that writing with a memory goes by. Longer ones copy: see experiments/MEMORY.md.
MEMORY_CONTEXT = 8
SAMPLE_LENGTH = 500  # characters to write where no length is given


def check_memory_options(share: float | None, context: int) -> None:
    """Raise a JaxcharError where writing cannot go so far by a memory; None: as far as it helps."""
    if share is not None and not 0 <= share <= 1:
        raise JaxcharError(f"--memory must be a number from 0 to 1, but it is {share}")
    if context < 0:
        raise JaxcharError(f"--memory-context must be 0 or more, but it is {context}")


@dataclass(frozen=True, kw_only=True)
class SampleConfig(SamplingParams):
    """What to write after a prompt."""

    length: CountOrZero = SAMPLE_LENGTH  # characters to write; the prompt is not counted
    stop: tuple[str, ...] | None = None  # the text ends with the first of these that appears in it
    seed: Seed = 0  # the same seed gives the same text

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(self.stop or ["none"]):
            raise JaxcharError(
                "--stop must be a text of at least one character, but it is empty; leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig(_Checked):
    """How long to train, and what to do on the way."""

    epochs: Count = 8  # passes over the training text, in total
    max_steps: Count | None = None  # stop after this many steps, whatever epochs says
    seed: Seed = 0  # all randomness follows from (seed, step)
    # Keep other processes from writing to the run. Switch this off only where the file system has no locks.
    lock: bool = True
    # Devices of each process that share a batch. None: one, which is as fast for all but large batches.
    devices: Count | None = None
    log_every: Count = 50  # steps between lines of training loss in metrics.jsonl
    eval_every: Count | None = None  # steps between evaluations; None: at the end of each epoch
    # A stateful pass; cold blocks of eval_block characters; or windows as in training. None: as in training.
    eval_protocol: Literal["stateful", "blocks", "windows"] | None = None
    eval_block: Annotated[int, Interval(1, 1_000_000)] = 256  # characters per cold block
    eval_stride: Count = 1  # windows: characters between the starts of validation windows
    early_stopping: CountOrZero = 0  # stop after this many evaluations without a better loss; 0: never
    checkpoint_every: Count | None = None  # steps between checkpoints; None: at the end of each epoch
    keep_checkpoints: CountOrZero = 5  # keep this many of the newest, and the best one; 0: keep all
    # Keep the training text in the checkpoints, so that what it says can be counted, beside what the network
    # learned. none: keep it out.
    memory: Literal["text", "none"] = "text"
    save_in_background: bool = True  # write checkpoints while training goes on; otherwise training waits
    sample_every: Count | None = None  # steps between samples; None: at the end of each epoch
    sample_length: CountOrZero = 200  # characters per sample; 0: no samples
    sample_temperatures: tuple[Temperature, ...] = (0.8,)  # one sample for each
    # What a sample continues: sample_prompt, a random passage of the training text, or the state and
    # character that training has just reached.
    sample_from: Literal["prompt", "corpus", "training"] = "corpus"
    sample_prompt: str = "\n"  # what a sample continues if sample_from is "prompt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sample_prompt:
            raise JaxcharError("--sample-prompt must have at least one character, but it is empty")


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig, OptimizerConfig, ModelConfig, BatchConfig, CorpusConfig):
    """All settings of a run in one flat record; see the groups for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample_from == "training" and self.batching == "windows":
            raise JaxcharError("--sample-from=training needs --batching=streams, but it is 'windows'")
        if self.eval_protocol == "windows" and self.batching == "streams":
            raise JaxcharError("--eval-protocol=windows needs --batching=windows, but it is 'streams'")
        if self.eval_protocol != "windows" and not self.return_sequences and self.eval_protocol:
            raise JaxcharError(
                f"--eval-protocol must be 'windows' where --return-sequences is False, but it is "
                f"{self.eval_protocol!r}"
            )

    @property
    def protocol(self) -> Literal["stateful", "blocks", "windows"]:
        """The evaluation protocol that was set, else the one that matches the training."""
        if self.eval_protocol is not None:
            return self.eval_protocol
        if self.batching == "windows":
            return "windows"
        return "stateful" if self.carries_state else "blocks"

    @property
    def context_limit(self) -> int | None:
        """How many characters a prediction can look back on; None if the state is carried on."""
        return self.seq_len if self.batching == "windows" or not self.carries_state else None

    def replace(self, **changes: Any) -> "Config":
        """Return a checked copy with some settings changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object, in the order of their declaration."""
        settings = dataclasses.asdict(self)
        if isinstance(self.corpus, Text):
            settings["corpus"] = str(self.corpus)
        return settings

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> "Config":
        """Return the settings of a JSON object; missing ones get their defaults.

        Raises:
            JaxcharError: a name is not a setting, or a value is out of range.
        """
        if not isinstance(settings, dict):
            raise JaxcharError(f"settings must be a JSON object, but they are {quoted(settings)}")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise JaxcharError(
                f"unknown settings: {quoted(', '.join(unknown))}; they may be of a newer jaxchar"
            )
        try:
            return cls(**settings)
        except JaxcharError as error:  # JSON has names, not flags
            raise JaxcharError(in_callers_words(error.args[0], "python")) from error

    def describe_changes(self, other: "Config", ignoring: Collection[str] = ()) -> list[str]:
        """Return ``name: here -> there`` for every setting in which ``other`` differs."""
        here, there = self.to_json(), other.to_json()
        return [
            f"{name}: {json.dumps(here[name])} -> {json.dumps(there[name])}"
            for name in here
            if here[name] != there[name] and name not in ignoring
        ]

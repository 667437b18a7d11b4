"""Train a model: ``jaxchar train my_novel.txt --run-dir runs/mine``."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from tyro.conf import OmitArgPrefixes, Positional, arg

from jaxchar.cli.arguments import HELP_ALL, CommandLine, scan
from jaxchar.cli.chosen_settings import shown_as_chosen
from jaxchar.cli.messages import one_line_errors
from jaxchar.cli.parse import parse
from jaxchar.cli.short_help import show_short_help
from jaxchar.cli.streams import streams_that_lose_nothing
from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.data.documents import typed_separator
from jaxchar.errors import JaxcharError
from jaxchar.model.recipe import CHOSEN, LENGTH
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay, shell_command, tolerant_output
from jaxchar.terminal.invocation import called_as, called_as_experiment
from jaxchar.training.signals import leaving_at_once

if TYPE_CHECKING:  # JAX, which --help need not wait for
    from jaxchar.training.trainer import RunResult

Group = TypeVar("Group")

EXPERIMENT_HELP = "Train as this experiment does. What you do not set has the numbers in its file."


@dataclass(frozen=True, kw_only=True)
class WhereToBegin:
    """Which run, and what it begins with."""

    run_dir: str | None = None  # the run's folder; None: a new one in runs/, named after the corpus
    resume: bool = False  # go on from the newest checkpoint of --run-dir
    initial_epoch: int | None = None  # go on from the checkpoint that ended this epoch
    # Begin a new run with the weights of this run or checkpoint, and with its settings where none are typed.
    init_from: str | None = None
    # With --init-from: keep the optimizer's state (moments), too. Steps, epochs and the schedule begin anew.
    keep_optimizer: bool = False
    # With --init-from: what to do about characters that its model does not know. add: add them to the model.
    new_characters: Literal["error", "add"] = "error"

    @property
    def goes_on(self) -> bool:
        """Whether an existing run is gone on with."""
        return self.resume or self.initial_epoch is not None


@dataclass(frozen=True, kw_only=True)
class OtherProcesses:
    """The processes that train one model together; each is started with the same command line."""

    cluster: bool = False  # there are others, as the launcher's environment says (Slurm, Open MPI, TPU, ...)
    coordinator: str | None = None  # or as said here: HOST:PORT at which process 0 can be reached,
    num_processes: int | None = None  # how many there are,
    process_id: int | None = None  # and which one this is, from 0

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise JaxcharError(
                "--coordinator, --num-processes and --process-id go together; give all three, or --cluster"
            )

    def join(self) -> None:
        """Meet them, if there are any."""
        if self.cluster or self.coordinator:
            from jaxchar.parallel.processes import join

            join(self.coordinator, self.num_processes, self.process_id)


@dataclass(frozen=True, kw_only=True)
class DisplayOptions:
    """What is shown while it trains."""

    verbose: bool = False  # show the model's layers, too
    plain: bool = False  # lines only, none of which changes in place; for screen readers


@dataclass(frozen=True, kw_only=True)
class TimeAllowed:
    """How long it may take."""

    # Minutes that the whole command may take: compiling, evaluating and sampling are counted. None: as long
    # as suits the text.
    minutes: float | None = None
    plan: bool = False  # print what would be done, and stop

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise JaxcharError(f"--minutes must be a number above 0, but it is {self.minutes}")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a character-level recurrent language model."""

    # The text: files, folders and globs, as after --corpus.
    texts: Annotated[tuple[str, ...], Positional, arg(metavar="[TEXT ...]", help_behavior_hint="")] = ()
    time: TimeAllowed
    begin: WhereToBegin
    processes: OtherProcesses
    text: CorpusConfig
    batches: BatchConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    run: RunConfig
    display: DisplayOptions

    def config(self) -> Config:
        """Return all settings in one record."""
        groups = (self.text, self.batches, self.model, self.optimizer, self.run)
        config = Config(**{name: value for group in groups for name, value in vars(group).items()})
        return config.replace(corpus=_one_or_several(self.texts)) if self.texts else config


class TypedSettings(NamedTuple):
    """What a command line asks for."""

    begin: WhereToBegin
    processes: OtherProcesses
    shown: DisplayOptions
    config: Config
    minutes: float | None  # that the whole command may take
    plan: bool  # whether to print what would be done, and stop
    given: frozenset[str] | None  # the settings that the recipe must keep; None: all, there is no recipe


def main(
    default: Config | None = None, name: str | None = None, *, arguments: Sequence[str] | None = None
) -> None:
    """Train as the command line says.

    Args:
        default: the settings that hold where the command line says nothing; an experiment's.
        name: what a new folder in ``runs/`` is called; None: as the corpus is.
        arguments: the command line; None takes the process's own.
    """
    started = time.monotonic()
    with streams_that_lose_nothing(), tolerant_output(), one_line_errors(), leaving_at_once():
        screen = TrainingDisplay()
        display = GuardedDisplay(screen, shell_command)
        with display.phase("starting ...", in_lines="never"):
            typed = parse_arguments(default, arguments)
        screen.verbose = typed.shown.verbose
        if typed.shown.plain:
            screen.use_plain_lines()
        # Once a process, and then the longest silence of all.
        with display.phase("loading JAX ...", in_lines="never" if "jax" in sys.modules else "at once"):
            from jaxchar.cache import keep_what_is_compiled
            from jaxchar.parallel.processes import is_first
        keep_what_is_compiled()
        typed.processes.join()
        result = _train(typed, name, started, display)
        if result is None:
            return
        if is_first():
            display.finished(result.run_dir, result.summary)
        if result.stopped_by is not None:
            raise SystemExit(128 + result.stopped_by)


def _train(
    typed: TypedSettings, name: str | None, started: float, display: GuardedDisplay
) -> "RunResult | None":
    """Begin or resume the run, and return what it came to; None where only the plan was asked for."""
    from jaxchar.training.launch import fit, fit_text, plan_text, resume

    begin = typed.begin
    if begin.goes_on:
        if begin.run_dir is None:
            raise JaxcharError("--resume and --initial-epoch need --run-dir, the run to go on with")
        if typed.plan:
            raise JaxcharError("--plan is for a new run, and a resumed run keeps its settings; leave it out")
        return resume(
            begin.run_dir,
            config=typed.config,
            initial_epoch=begin.initial_epoch,
            minutes=typed.minutes,
            display=display,
        )
    new: dict[str, Any] = {
        "name": name,
        "init_from": begin.init_from,
        "keep_optimizer": begin.keep_optimizer,
        "new_characters": begin.new_characters,
        "display": display,
    }
    if typed.given is None:
        return fit(typed.config, begin.run_dir, **new)
    settings = {setting: getattr(typed.config, setting) for setting in typed.given}
    if typed.plan:
        plan_text(settings, typed.minutes, started, display)
        return None
    return fit_text(settings, begin.run_dir, typed.minutes, started, **new)


def parse_arguments(default: Config | None, arguments: Sequence[str] | None) -> TypedSettings:
    """Return what was typed, and the settings: typed, else those of the run, the donor or the default.

    Args:
        default: an experiment's settings; None: there is no experiment, and what is not typed is chosen for
            the text.
        arguments: the command line; None takes the process's own.
    """
    prog = called_as("train") if default is None else called_as_experiment()
    typed = sys.argv[1:] if arguments is None else list(arguments)
    if show_short_help("train", typed, prog, None if default is None else EXPERIMENT_HELP):
        raise SystemExit(0)
    line = scan(typed, Arguments, "train")
    # Where to begin decides what the other settings default to, so it is read first, by itself.
    begin, _ = parse(
        WhereToBegin, prog=prog, arguments=line.options, return_unknown_args=True, add_help=False
    )
    if begin.init_from and begin.goes_on:
        raise JaxcharError("--init-from begins a new run; it cannot go with --resume or --initial-epoch")
    if begin.init_from is None and (begin.keep_optimizer or begin.new_characters != "error"):
        raise JaxcharError("--keep-optimizer and --new-characters need --init-from, the run to begin with")
    free = default is None and not begin.goes_on and begin.init_from is None
    if begin.goes_on and begin.run_dir is not None:
        default = _settings_of(begin.run_dir)
    elif begin.init_from is not None:
        default = _settings_from_donor(begin, default, line)
    parsed = parse(
        OmitArgPrefixes[Arguments],
        prog=prog,
        arguments=line.for_tyro(),
        default=_arguments_of(default or Config()),
        registry=shown_as_chosen(frozenset(CHOSEN)) if free and HELP_ALL in typed else None,
    )
    given = _settings_given(line)
    config = _to_any_length(parsed.config(), given, begin)
    if "separator" in given:
        config = config.replace(separator=typed_separator(config.separator or "none"))
    return TypedSettings(
        begin=parsed.begin,
        processes=parsed.processes,
        shown=parsed.display,
        config=config,
        minutes=parsed.time.minutes,
        plan=parsed.time.plan,
        given=_what_is_set(given, free=free, timed=parsed.time.minutes is not None or parsed.time.plan),
    )


def _to_any_length(config: Config, given: frozenset[str], begin: WhereToBegin) -> Config:
    """Let ``--resume --epochs 20`` go beyond the step at which the run was to end before."""
    lifted = begin.goes_on and "epochs" in given and "max_steps" not in given
    return config.replace(max_steps=None) if lifted else config


def _what_is_set(given: frozenset[str], *, free: bool, timed: bool) -> frozenset[str] | None:
    """Return the settings that the recipe may not choose; None where it chooses none.

    Args:
        given: the settings that were typed.
        free: whether the recipe chooses all others.
        timed: whether the time is given; then an experiment, or a run that begins with another one's
            weights, is as long as that, and is otherwise as it is.
    """
    if free:
        return given
    everything = frozenset(field.name for field in dataclasses.fields(Config))
    return everything.difference(LENGTH) | given if timed else None


def _settings_given(line: CommandLine) -> frozenset[str]:
    """Return the names of the settings that were typed."""
    if line.positionals and "corpus" in line.given:
        raise JaxcharError(
            f"the text is given twice, as {line.positionals[0]!r} and with --corpus; give it once"
        )
    given = line.given | ({"corpus"} if line.positionals else frozenset())
    return given & {field.name for field in dataclasses.fields(Config)}


def _one_or_several(texts: tuple[str, ...]) -> str | tuple[str, ...]:
    return texts[0] if len(texts) == 1 else texts


def _settings_from_donor(begin: WhereToBegin, default: Config | None, line: CommandLine) -> Config:
    """Return the settings of a run that begins with another one's weights, where none are typed."""
    donor = _settings_of(begin.init_from or "")
    if default is not None:  # an experiment keeps its own settings but those that the weights need
        groups = [ModelConfig, OptimizerConfig] if begin.keep_optimizer else [ModelConfig]
        return default.replace(**{k: v for group in groups for k, v in vars(_group(group, donor)).items()})
    if "corpus" in _settings_given(line):
        return donor.replace(max_chars=None, max_windows=None)  # how much of another text was used
    return donor


def _settings_of(path: str) -> Config:
    from jaxchar.checkpoint.find import peek

    return peek(path).config


def _arguments_of(config: Config) -> Arguments:
    return Arguments(
        time=TimeAllowed(),
        begin=WhereToBegin(),
        processes=OtherProcesses(),
        text=_group(CorpusConfig, config),
        batches=_group(BatchConfig, config),
        model=_group(ModelConfig, config),
        optimizer=_group(OptimizerConfig, config),
        run=_group(RunConfig, config),
        display=DisplayOptions(),
    )


def _group(kind: type[Group], config: Config) -> Group:
    """Return one group of the settings as a record of its own."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

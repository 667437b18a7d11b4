"""Train a model: ``jaxchar train my_novel.txt --run-dir runs/mine``."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from tyro.conf import OmitArgPrefixes, Positional, arg

from jaxchar.arguments import HELP_ALL, CommandLine, scan
from jaxchar.chosen_settings import CHOSEN_FOR_THE_TEXT, shown_as_chosen
from jaxchar.command_line import called_as, called_as_experiment
from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.console import TrainingDisplay, one_line_errors, parse
from jaxchar.errors import JaxcharError
from jaxchar.short_help import show_short_help

Group = TypeVar("Group")

EXPERIMENT_HELP = "Train as this experiment does. What you do not set has the numbers in its file."


@dataclass(frozen=True, kw_only=True)
class WhereToBegin:
    """Which run, and what it begins with."""

    run_dir: str | None = None  # the run's folder; None: a new one in runs/
    resume: bool = False  # go on from the newest checkpoint of --run-dir
    initial_epoch: int | None = None  # go on from the checkpoint that ended this epoch
    init_from: str | None = None  # begin with the weights of this run or checkpoint

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
            from jaxchar.processes import join

            join(self.coordinator, self.num_processes, self.process_id)


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

    def config(self) -> Config:
        """Return all settings in one record."""
        groups = (self.text, self.batches, self.model, self.optimizer, self.run)
        config = Config(**{name: value for group in groups for name, value in vars(group).items()})
        return config.replace(corpus=_one_or_several(self.texts)) if self.texts else config


class TypedSettings(NamedTuple):
    """What a command line asks for."""

    begin: WhereToBegin
    processes: OtherProcesses
    config: Config
    minutes: float | None  # that the whole command may take
    plan: bool  # whether to print what would be done, and stop
    given: frozenset[str]  # the names of the settings that were typed on this very command line


def main(default: Config | None = None, name: str = "run", *, arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Args:
        default: the settings that hold where the command line says nothing; an experiment's.
        name: what a new folder in ``runs/`` is called.
        arguments: the command line; None takes the process's own.
    """
    with one_line_errors():
        begin, processes, config, minutes, plan, _given = parse_arguments(default, arguments)
        # The recipe goes here: it takes minutes, plan and _given.
        if minutes is not None or plan:
            raise JaxcharError(f"--{'plan' if plan else 'minutes'} is not available yet; leave it out")
        display = TrainingDisplay()
        from jaxchar.devices import keep_what_is_compiled
        from jaxchar.launch import fit, resume
        from jaxchar.processes import is_first
        from jaxchar.run_folder import next_free

        keep_what_is_compiled()
        processes.join()
        if begin.goes_on:
            if begin.run_dir is None:
                raise JaxcharError("--resume and --initial-epoch need --run-dir, the run to go on with")
            result = resume(begin.run_dir, config=config, initial_epoch=begin.initial_epoch, display=display)
        else:
            run_dir = begin.run_dir or next_free(Path("runs") / name)
            result = fit(config, run_dir, init_from=begin.init_from, display=display)
        if is_first():
            display.finished(result.run_dir, result.summary)
    if result.stopped_by is not None:
        raise SystemExit(128 + result.stopped_by)


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
    chosen = CHOSEN_FOR_THE_TEXT if default is None else frozenset()
    default = default or Config()
    if begin.goes_on and begin.run_dir is not None:
        default, chosen = _settings_of(begin.run_dir), frozenset()
    elif begin.init_from is not None:
        default = default.replace(**vars(_group(ModelConfig, _settings_of(begin.init_from))))
    parsed = parse(
        OmitArgPrefixes[Arguments],
        prog=prog,
        arguments=line.for_tyro(),
        default=_arguments_of(default),
        registry=shown_as_chosen(chosen) if HELP_ALL in typed else None,
    )
    given = _settings_given(line)
    return TypedSettings(
        parsed.begin, parsed.processes, parsed.config(), parsed.time.minutes, parsed.time.plan, given
    )


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


def _settings_of(path: str) -> Config:
    from jaxchar.checkpoint import peek

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
    )


def _group(kind: type[Group], config: Config) -> Group:
    """Return one group of the settings as a record of its own."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

"""Train a model: ``python -m jaxchar.train --corpus my.txt --run-dir runs/mine``."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.console import one_line_errors, parse, streams_that_lose_nothing
from jaxchar.display_guard import GuardedDisplay, shell_command, tolerant_output
from jaxchar.errors import JaxcharError
from jaxchar.signals import leaving_at_once
from jaxchar.training_display import TrainingDisplay

if TYPE_CHECKING:  # JAX, which --help need not wait for
    from jaxchar.trainer import RunResult

Group = TypeVar("Group")


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
            from jaxchar.processes import join

            join(self.coordinator, self.num_processes, self.process_id)


@dataclass(frozen=True, kw_only=True)
class DisplayOptions:
    """What is shown while it trains."""

    verbose: bool = False  # show the model's layers, too
    plain: bool = False  # lines only, none of which changes in place; for screen readers


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a character-level recurrent language model."""

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
        return Config(**{name: value for group in groups for name, value in vars(group).items()})


def main(
    default: Config | None = None, name: str | None = None, *, arguments: Sequence[str] | None = None
) -> None:
    """Train as the command line says.

    Args:
        default: the settings that hold where the command line says nothing; an experiment's.
        name: what a new folder in ``runs/`` is called; None: as the corpus is.
        arguments: the command line; None takes the process's own.
    """
    with streams_that_lose_nothing(), tolerant_output(), one_line_errors(), leaving_at_once():
        screen = TrainingDisplay()
        display = GuardedDisplay(screen, shell_command)
        with display.phase("starting ...", in_lines="never"):
            begin, processes, shown, config = parse_arguments(default, arguments)
        screen.verbose = shown.verbose
        if shown.plain:
            screen.use_plain_lines()
        result = _train(begin, processes, config, name, display)
        if result.stopped_by is not None:
            raise SystemExit(128 + result.stopped_by)


def _train(
    begin: WhereToBegin, processes: OtherProcesses, config: Config, name: str | None, display: GuardedDisplay
) -> "RunResult":
    """Begin or resume the run, show it, and return what it came to."""
    # Once a process, and then the longest silence of all.
    with display.phase("loading JAX ...", in_lines="never" if "jax" in sys.modules else "at once"):
        from jaxchar.cache import keep_what_is_compiled
        from jaxchar.launch import fit, resume
        from jaxchar.processes import is_first

    keep_what_is_compiled()
    processes.join()
    if begin.goes_on:
        if begin.run_dir is None:
            raise JaxcharError("--resume and --initial-epoch need --run-dir, the run to go on with")
        result = resume(begin.run_dir, config=config, initial_epoch=begin.initial_epoch, display=display)
    else:
        result = fit(
            config,
            begin.run_dir,
            name=name,
            init_from=begin.init_from,
            keep_optimizer=begin.keep_optimizer,
            new_characters=begin.new_characters,
            display=display,
        )
    if is_first():
        display.finished(result.run_dir, result.summary)
    return result


def parse_arguments(
    default: Config | None, arguments: Sequence[str] | None
) -> tuple[WhereToBegin, OtherProcesses, DisplayOptions, Config]:
    """Return where to begin, with whom, what to show, and all settings.

    A setting that is not typed is that of the run that is gone on with, of the donor, or the default.

    Args:
        default: an experiment's settings; None: there is no experiment.
        arguments: the command line; None takes the process's own.
    """
    import tyro

    whole = tyro.conf.OmitArgPrefixes[Arguments]
    # Where to begin decides what the other settings default to, so it is read first, by itself.
    door = "jaxchar.train"
    begin, _ = parse(WhereToBegin, door=door, arguments=arguments, return_unknown_args=True, add_help=False)
    if begin.init_from and begin.goes_on:
        raise JaxcharError("--init-from begins a new run; it cannot go with --resume or --initial-epoch")
    if begin.init_from is None and (begin.keep_optimizer or begin.new_characters != "error"):
        raise JaxcharError("--keep-optimizer and --new-characters need --init-from, the run to begin with")
    if begin.goes_on and begin.run_dir is not None:
        default = _settings_of(begin.run_dir)
    elif begin.init_from is not None:
        default = _settings_from_donor(begin, default, arguments)
    parsed = parse(whole, arguments=arguments, default=_arguments_of(default or Config()), door=door)
    return parsed.begin, parsed.processes, parsed.display, parsed.config()


def _settings_from_donor(
    begin: WhereToBegin, default: Config | None, arguments: Sequence[str] | None
) -> Config:
    """Return the settings of a run that begins with another one's weights, where none are typed."""
    donor = _settings_of(begin.init_from or "")
    if default is not None:  # an experiment keeps its own settings but those that the weights need
        groups = [ModelConfig, OptimizerConfig] if begin.keep_optimizer else [ModelConfig]
        return default.replace(**{k: v for group in groups for k, v in vars(_group(group, donor)).items()})
    typed = sys.argv[1:] if arguments is None else arguments
    if any(argument.partition("=")[0] == "--corpus" for argument in typed):
        return donor.replace(max_chars=None, max_windows=None)  # how much of another text was used
    return donor


def _settings_of(path: str) -> Config:
    from jaxchar.checkpoint import peek

    return peek(path).config


def _arguments_of(config: Config) -> Arguments:
    return Arguments(
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

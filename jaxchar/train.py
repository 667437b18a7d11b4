"""Train a model: ``python -m jaxchar.train --corpus my.txt --run-dir runs/mine``."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.console import TrainingDisplay, one_line_errors, parse
from jaxchar.documents import typed_separator
from jaxchar.errors import JaxcharError

Group = TypeVar("Group")


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
class Arguments:
    """Train a character-level recurrent language model."""

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
        return Config(**{name: value for group in groups for name, value in vars(group).items()})


def main(default: Config | None = None, name: str = "run", *, arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Args:
        default: the settings that hold where the command line says nothing; an experiment's.
        name: what a new folder in ``runs/`` is called.
        arguments: the command line; None takes the process's own.
    """
    with one_line_errors():
        begin, processes, config = parse_arguments(default or Config(), arguments)
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


def parse_arguments(
    default: Config, arguments: Sequence[str] | None
) -> tuple[WhereToBegin, OtherProcesses, Config]:
    """Return where to begin, with whom, and the settings: typed, else those of the run, donor or default."""
    import tyro

    whole = tyro.conf.OmitArgPrefixes[Arguments]
    # Where to begin decides what the other settings default to, so it is read first, by itself.
    door = "jaxchar.train"
    begin, _ = parse(WhereToBegin, door=door, arguments=arguments, return_unknown_args=True, add_help=False)
    if begin.init_from and begin.goes_on:
        raise JaxcharError("--init-from begins a new run; it cannot go with --resume or --initial-epoch")
    if begin.goes_on and begin.run_dir is not None:
        default = _settings_of(begin.run_dir)
    elif begin.init_from is not None:
        default = default.replace(**vars(_group(ModelConfig, _settings_of(begin.init_from))))
    parsed = parse(whole, arguments=arguments, default=_arguments_of(default), door=door)
    config = parsed.config()
    if config.separator is not None and config.separator != default.separator:  # it was typed
        config = config.replace(separator=typed_separator(config.separator))
    return parsed.begin, parsed.processes, config


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
    )


def _group(kind: type[Group], config: Config) -> Group:
    """Return one group of the settings as a record of its own."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

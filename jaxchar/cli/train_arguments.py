"""The options of ``jaxchar train``, in the groups that its help shows."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from tyro.conf import Positional, arg

from jaxchar.config import BatchConfig, Config, CorpusConfig, ModelConfig, OptimizerConfig, RunConfig
from jaxchar.errors import JaxcharError

Group = TypeVar("Group")


@dataclass(frozen=True, kw_only=True)
class WhereToBegin:
    """Which run, and what it starts from."""

    run_dir: str | None = None  # the run's folder; None: a new one in runs/, named after the corpus
    resume: bool = False  # continue from the newest checkpoint of --run-dir
    initial_epoch: int | None = None  # continue from the checkpoint at the end of this epoch
    # Start a new run from the weights of this run or checkpoint, with its settings where you give none.
    init_from: str | None = None
    # With --init-from: also keep the optimizer's state (moments). Steps, epochs and schedule start from 0.
    keep_optimizer: bool = False
    # Train so many runs, with seed, seed + 1, ..., each in a folder of its own in --run-dir. The same command
    # again goes on with them.
    seeds: int | None = None
    # With --init-from: what to do with characters that its model does not know. add: add them to the model.
    new_characters: Literal["error", "add"] = "error"

    @property
    def goes_on(self) -> bool:
        """Whether an existing run is continued."""
        return self.resume or self.initial_epoch is not None


@dataclass(frozen=True, kw_only=True)
class OtherProcesses:
    """The processes that train one model together; each is started with the same command line."""

    cluster: bool = False  # join the other processes of a Slurm, Open MPI or TPU job
    coordinator: str | None = None  # without such a job: address of process 0 (HOST:PORT)
    num_processes: int | None = None  # with --coordinator: how many processes there are
    process_id: int | None = None  # with --coordinator: which of them this one is, from 0

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise JaxcharError(
                "--coordinator, --num-processes and --process-id need each other; give all three or --cluster"
            )

    def join(self) -> None:
        """Join the other processes, if there are any."""
        if self.cluster or self.coordinator:
            from jaxchar.parallel.processes import join

            join(self.coordinator, self.num_processes, self.process_id)


@dataclass(frozen=True, kw_only=True)
class DisplayOptions:
    """What is shown while it trains."""

    verbose: bool = False  # also show the model's layers
    plain: bool = False  # print only lines that never change in place; for screen readers
    logger: Literal["tensorboard", "wandb"] | None = None  # where else to send the figures


@dataclass(frozen=True, kw_only=True)
class TimeAllowed:
    """How long training may take."""

    # Minutes that the whole command may take, including compiling, evaluating and sampling. None: as long as
    # suits the text.
    minutes: float | None = None
    plan: bool = False  # print what would be done, and stop

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise JaxcharError(f"--minutes must be a number above 0, but it is {self.minutes}")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a character-level recurrent language model."""

    # The text: files, folders and globs, as with --corpus.
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


def _one_or_several(texts: tuple[str, ...]) -> str | tuple[str, ...]:
    return texts[0] if len(texts) == 1 else texts


def arguments_of(config: Config) -> Arguments:
    """Return a configuration in groups of options."""
    return Arguments(
        time=TimeAllowed(),
        begin=WhereToBegin(),
        processes=OtherProcesses(),
        text=group_of(CorpusConfig, config),
        batches=group_of(BatchConfig, config),
        model=group_of(ModelConfig, config),
        optimizer=group_of(OptimizerConfig, config),
        run=group_of(RunConfig, config),
        display=DisplayOptions(),
    )


def group_of(kind: type[Group], config: Config) -> Group:
    """Return one group of the settings as its own record."""
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]

"""What a command line of ``jaxchar train`` asks for: the settings it gives, and the source of the others."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tyro.conf import OmitArgPrefixes

from jaxchar.cli.arguments import HELP_ALL, CommandLine, scan
from jaxchar.cli.chosen_settings import shown_as_chosen
from jaxchar.cli.parse import parse
from jaxchar.cli.short_help import show_short_help
from jaxchar.cli.train_arguments import (
    Arguments,
    DisplayOptions,
    OtherProcesses,
    WhereToBegin,
    arguments_of,
    group_of,
)
from jaxchar.config import Config, ModelConfig, OptimizerConfig
from jaxchar.data.documents import typed_separator
from jaxchar.errors import JaxcharError
from jaxchar.model.recipe import CHOSEN, LENGTH
from jaxchar.terminal.invocation import called_as, called_as_experiment

EXPERIMENT_HELP = "Train as this experiment does. What you do not set has the numbers in its file."


class TypedSettings(NamedTuple):
    """What a command line asks for."""

    begin: WhereToBegin
    processes: OtherProcesses
    shown: DisplayOptions
    config: Config
    minutes: float | None  # that the whole command may take
    plan: bool  # whether to print what would be done, and stop
    given: frozenset[str] | None  # the settings that the recipe must keep; None: all, there is no recipe


def parse_arguments(default: Config | None, arguments: Sequence[str] | None) -> TypedSettings:
    """Return what was typed, and all settings: typed, or from the run, the donor or the default.

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
    # These options decide the defaults of the other settings, so they are read first.
    begin, _ = parse(
        WhereToBegin, prog=prog, arguments=line.options, return_unknown_args=True, add_help=False
    )
    if begin.init_from and begin.goes_on:
        raise JaxcharError(
            "--init-from starts a new run; it cannot be combined with --resume or --initial-epoch"
        )
    if begin.init_from is None and (begin.keep_optimizer or begin.new_characters != "error"):
        raise JaxcharError("--keep-optimizer and --new-characters need --init-from, the run to start from")
    free = default is None and not begin.goes_on and begin.init_from is None
    if begin.goes_on and begin.run_dir is not None:
        default = _settings_of(begin.run_dir)
    elif begin.init_from is not None:
        default = _settings_from_donor(begin, default, line)
    parsed = parse(
        OmitArgPrefixes[Arguments],
        prog=prog,
        arguments=line.for_tyro(),
        default=arguments_of(default or Config()),
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
    """Let ``--resume --epochs 20`` go beyond the step at which the run was to end."""
    lifted = begin.goes_on and "epochs" in given and "max_steps" not in given
    return config.replace(max_steps=None) if lifted else config


def _what_is_set(given: frozenset[str], *, free: bool, timed: bool) -> frozenset[str] | None:
    """Return the settings that the recipe must keep; None if it chooses none.

    Args:
        given: the settings that were typed.
        free: whether the recipe chooses all others.
        timed: whether the time is given; then an experiment, or a run that starts from another one's
            weights, gets that length and keeps all other settings.
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


def _settings_from_donor(begin: WhereToBegin, default: Config | None, line: CommandLine) -> Config:
    """Return the defaults of a run that starts from another one's weights."""
    donor = _settings_of(begin.init_from or "")
    if default is not None:  # an experiment keeps its own settings, except those of the weights
        groups = [ModelConfig, OptimizerConfig] if begin.keep_optimizer else [ModelConfig]
        return default.replace(**{k: v for group in groups for k, v in vars(group_of(group, donor)).items()})
    if "corpus" in _settings_given(line):
        return donor.replace(max_chars=None, max_windows=None)  # how much of another text was used
    return donor


def _settings_of(path: str) -> Config:
    from jaxchar.checkpoint.find import peek

    return peek(path).config

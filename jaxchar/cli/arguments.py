"""A first scan of the command line, before tyro reads it: its options and its positional arguments.

tyro needs positional arguments in one piece, and takes ``my.txt`` in ``--hidden-size 256 my.txt`` for another
size. It also cannot say which settings were typed, nor what an option of another tool is called in jaxchar.
"""

import dataclasses
import re
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from jaxchar.cli.foreign_flags import advice
from jaxchar.errors import JaxcharError

Takes = Literal["nothing", "one", "numbers", "texts"]

FLAG = re.compile(r"--?[A-Za-z][\w-]*")
HELP_ALL = "--help-all"
HELP = ("-h", "--help", HELP_ALL)
# Options of tyro, with the number of words of the whole command line.
COMPLETION = {"--tyro-print-completion": 2, "--tyro-write-completion": 3}
SHELLS = ("bash", "zsh", "fish")


class Flag(NamedTuple):
    """An option, and what follows it."""

    setting: str  # the name of the field that it sets
    takes: Takes


class CommandLine(NamedTuple):
    """A command line, split up."""

    options: list[str]  # with their values, as they were typed
    positionals: list[str]  # arguments that belong to no option, in order
    given: frozenset[str]  # names of the fields that options set, without positionals

    def for_tyro(self) -> list[str]:
        """Return all arguments in an order that tyro understands."""
        options = ["--help" if option == HELP_ALL else option for option in self.options]
        return [*options, "--", *self.positionals] if self.positionals else options


def completes_a_shell(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for a script that completes options in a shell.

    Raises:
        JaxcharError: tyro has none for that shell.
    """
    if not arguments or arguments[0] not in COMPLETION:
        return False
    if len(arguments) != COMPLETION[arguments[0]] or arguments[1] not in SHELLS:
        path = " and a file" if arguments[0] == "--tyro-write-completion" else ""
        raise JaxcharError(
            f"{arguments[0]} needs the name of a shell ({', '.join(SHELLS)}){path}, but it has "
            f"{' '.join(arguments[1:]) or 'nothing'}"
        )
    return True


def flags_of(kind: type) -> dict[str, Flag]:
    """Return the options that fill a dataclass and the dataclasses in it, by name without dashes."""
    found: dict[str, Flag] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if Positional in get_args(hint):
            continue
        if dataclasses.is_dataclass(hint):
            found |= flags_of(hint)  # type: ignore[arg-type]
            continue
        flag = Flag(name, _takes(hint))
        found[name.replace("_", "-")] = flag
        if flag.takes == "nothing":
            found["no-" + name.replace("_", "-")] = flag
    return found


def _takes(hint: Any) -> Takes:
    """Return what follows an option whose field has this type."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if hint is bool:
        return "nothing"
    leaves, is_list = _leaves(hint), tuple in _origins(hint)
    if not is_list:
        return "one"
    return "numbers" if leaves <= {int, float, types.NoneType} else "texts"


def _origins(hint: Any) -> set[Any]:
    """Return the members of a union, without their type arguments."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return {get_origin(part) or part for part in parts}


def _leaves(hint: Any) -> set[Any]:
    """Return the types without arguments that a type is made of."""
    if get_origin(hint) is Annotated:
        return _leaves(get_args(hint)[0])
    parts = [part for part in get_args(hint) if part is not Ellipsis]
    return set().union(*map(_leaves, parts)) if parts else {hint}


def scan(arguments: Sequence[str], kind: type, command: str) -> CommandLine:
    """Split up a command line.

    Args:
        arguments: the command line, without the command.
        kind: the dataclass that the options fill.
        command: the command's name.

    Raises:
        JaxcharError: there is no such option; the message names the one that was meant.
    """
    if completes_a_shell(arguments):
        return CommandLine(list(arguments), [], frozenset())
    flags = flags_of(kind)
    options: list[str] = []
    positionals: list[str] = []
    given: set[str] = set()
    expected: Takes = "nothing"  # of the previous option
    is_first = False  # whether the previous option still lacks its first value
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            positionals.extend(remaining)
            break
        name, equals, _ = argument.partition("=")
        if FLAG.fullmatch(name):
            options.append(argument)
            expected, is_first = "nothing", not equals
            if argument not in HELP:
                flag = _known(name, flags, command)
                given.add(flag.setting)
                expected = "nothing" if equals and flag.takes == "one" else flag.takes
        elif expected == "nothing" or (expected == "numbers" and not is_first and not _is_number(argument)):
            positionals.append(argument)
            expected = "nothing"
        else:
            options.append(argument)
            expected, is_first = "nothing" if expected == "one" else expected, False
    return CommandLine(options, positionals, frozenset(given))


def _known(name: str, flags: dict[str, Flag], command: str) -> Flag:
    flag = flags.get(name[2:].replace("_", "-")) if name.startswith("--") else None
    if flag is None:
        raise JaxcharError(advice(name, command, flags, _others(command)))
    return flag


def _others(command: str) -> Iterable[tuple[str, Iterable[str]]]:
    """Return the other commands, each with its options."""
    from importlib import import_module

    from jaxchar.cli.commands import COMMANDS
    from jaxchar.terminal.invocation import module_of

    for other in COMMANDS:
        if other != command:
            yield other, flags_of(import_module(f"jaxchar.{module_of(other)}").Arguments)


def _is_number(argument: str) -> bool:
    try:
        float(argument)
    except ValueError:
        return argument == "None"
    return True

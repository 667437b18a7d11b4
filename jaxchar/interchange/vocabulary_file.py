"""Which character each id of a foreign model means: from JSON, a text file, or a pickle of plain containers.

A pickle can run any code when it is loaded. Here its instructions are looked at first, and only those that
make dictionaries, lists, numbers and texts are let through.
"""

import io
import json
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, NoReturn

from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of

MOST_BYTES = 1 << 24  # a vocabulary of all Unicode takes half of it
MOST_CONTAINERS = 10_000  # in a pickle: nested ones would exhaust the stack of C functions
PICKLE_SUFFIXES = (".pkl", ".pickle", ".p", ".pck")
PICKLE_START = re.compile(rb"\x80[\x01-\x05]|\((?:d|l|t)?p\d+\n|\((?:d|l)q.|[}\])]q.", re.DOTALL)
# Instructions that make plain containers, numbers and texts. None of them looks up a name or calls anything.
CONTAINERS = (
    "EMPTY_DICT",
    "DICT",
    "EMPTY_LIST",
    "LIST",
    "EMPTY_TUPLE",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
)
LEAVES = (
    *("NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
PUTS = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")  # keep what was made last, by a number
GETS = ("GET", "BINGET", "LONG_BINGET")  # take what was kept
PLAIN_OPCODES = (
    *(*CONTAINERS, *LEAVES, *PUTS, *GETS),
    *("PROTO", "FRAME", "STOP", "MARK", "SETITEM", "SETITEMS", "APPEND", "APPENDS"),
)
# What char-rnn's descendants call their tables, from a character to its id or back.
TABLES = (
    "token_to_idx",
    "char_to_ix",
    "char_to_id",
    "char2idx",
    "stoi",
    "idx_to_token",
    "ix_to_char",
    "itos",
)


def read_vocabulary(path: str | Path, size: int) -> list[str]:
    """Return a model's characters in the order of their ids.

    Args:
        path: a JSON file with a list of the characters, ``{character: id}`` or ``{id: character}``; a UTF-8
            text file of nothing but the characters, in order; or a pickle of what JSON could also hold.
        size: how many symbols the model has, V.

    Raises:
        JaxcharError: the file cannot be read, or does not give each of V ids one character.
    """
    shown = quoted_path(path)
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise JaxcharError(
            f"cannot read --vocabulary {shown}: {reason_of(error)}; give a file of the characters"
        ) from error
    if len(data) > MOST_BYTES:
        raise JaxcharError(
            f"--vocabulary {shown} has more than {MOST_BYTES:,} bytes; give a list of characters"
        )
    try:
        symbols = _symbols(_content(data, Path(path).suffix.lower(), size), size)
    except JaxcharError as error:
        raise JaxcharError(f"--vocabulary {shown} cannot be used: {error}") from error
    if len(symbols) != size:
        raise JaxcharError(
            f"--vocabulary {shown} has {len(symbols):,} characters, but the model has {size:,} symbols; "
            f"give the "
            "vocabulary that it was trained with"
        )
    return symbols


def _content(data: bytes, suffix: str, size: int) -> Any:
    """Return what a file holds: containers, or a list of the characters of a text."""
    if suffix in PICKLE_SUFFIXES or PICKLE_START.match(data):
        return _unpickled(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JaxcharError(
            f"byte {error.start:,} is not UTF-8, and the file is no pickle; give JSON"
        ) from error
    is_json = suffix == ".json"
    if is_json or text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if is_json:
                raise JaxcharError(f"it is not JSON: {error}") from error
    if len(text) == size + 1 and text.endswith("\n"):  # an editor's, unless it is a character of the model
        text = text[:-1]
    return list(text)


def _unpickled(data: bytes) -> Any:
    """Return what a pickle holds, if it holds nothing but plain containers, numbers and texts.

    Raises:
        JaxcharError: it holds anything else, or is no pickle; nothing of it was run.
    """
    try:
        _check_opcodes(data)
        return _PlainUnpickler(io.BytesIO(data)).load()
    except JaxcharError:
        raise
    except Exception as error:  # the machine of pickles raises many kinds
        reason = (str(error).splitlines() or [""])[0][:200]
        if isinstance(error, UnicodeDecodeError):  # a str of Python 2 holds bytes
            reason = "a text of Python 2 that is not ASCII; write it as unicode, or as JSON"
        raise JaxcharError(f"it is no pickle that can be read ({type(error).__name__}: {reason})") from error


def is_plain_pickle(data: bytes) -> bool:
    """Whether bytes are a pickle of plain containers, numbers and texts."""
    try:
        _check_opcodes(data)
    except Exception:  # of code, or of what is no pickle
        return False
    return True


def _check_opcodes(data: bytes) -> None:
    """Raise a JaxcharError where a pickle does more than to make a tree of plain containers.

    A container that is taken twice would let a few bytes stand for more than any memory holds.
    """
    containers, before = 0, ""
    kept: dict[int, bool] = {}  # whether what was kept under a number is a leaf
    for opcode, argument, _ in pickletools.genops(data):
        name, number = opcode.name, len(kept)
        if name not in PLAIN_OPCODES:
            raise JaxcharError(
                f"it is a pickle with the instruction {name}, which can run code; only dictionaries, lists, "
                "numbers and texts are read: write it as JSON"
            )
        if name in PUTS:
            number = number if argument is None else int(argument)
            kept[number] = before in LEAVES
        containers += name in CONTAINERS
        # The table of what is kept would be as long as the greatest number.
        if number > len(data) or containers > MOST_CONTAINERS:
            raise JaxcharError("it is a pickle that would take too much memory; write it as JSON")
        if name in GETS and argument is not None and not kept.get(int(argument), False):
            raise JaxcharError("it is a pickle that holds a container twice, or in itself; write it as JSON")
        before = name


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that looks up nothing, should an instruction have slipped through."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise JaxcharError(f"it is a pickle that asks for {quoted(f'{module}.{name}')}; write it as JSON")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise JaxcharError("it is a pickle that asks for something outside of it; write it as JSON")


def _symbols(content: Any, size: int) -> list[str]:
    """Return characters in the order of their ids.

    Raises:
        JaxcharError: the content gives no such order.
    """
    if isinstance(content, dict):
        tables = (content[name] for name in TABLES if isinstance(content.get(name), dict | list))
        content = next(filter(None, tables), content)
    if isinstance(content, dict):
        content = _by_id(content, size)
    elif isinstance(content, tuple) and len(content) == 2 and all(isinstance(part, dict) for part in content):
        content = _by_id(content[0], size)  # both tables, there and back
    elif not isinstance(content, list | tuple):
        raise JaxcharError(
            f"it holds {quoted(content)}, expected a list, {{character: id}} or {{id: character}}"
        )
    seen: set[str] = set()
    for position, symbol in enumerate(content):
        if not isinstance(symbol, str) or len(symbol) != 1:
            raise JaxcharError(f"id {position} is {quoted(symbol)}, expected one character")
        if "\ud800" <= symbol <= "\udfff":
            raise JaxcharError(
                f"id {position} is {quoted(symbol)}, half a character of UTF-16; give the whole"
            )
        if symbol in seen:
            raise JaxcharError(f"the character {symbol!r} has two ids")
        seen.add(symbol)
    return list(content)


def _id(key: Any) -> int:
    try:
        if type(key) in (int, str):
            return int(key)
    except ValueError:  # also of a number that is too long to be one
        pass
    raise JaxcharError(
        f"it has a key that is no id: {quoted(key)}, expected a whole number, as in {{0: 'a'}}"
    )


def _by_id(table: dict[Any, Any], size: int) -> list[Any]:
    """Return the characters of ``{character: id}`` or ``{id: character}``, first id to last.

    Ids may begin at 1, as in Lua.
    """
    if table and all(isinstance(value, int) and not isinstance(value, bool) for value in table.values()):
        pairs = [(value, key) for key, value in table.items()]
    else:
        pairs = [(_id(key), value) for key, value in table.items()]
    pairs = sorted(pairs, key=lambda pair: pair[0])
    ids = [number for number, _ in pairs]
    if ids not in (list(range(len(ids))), list(range(1, len(ids) + 1))):
        raise JaxcharError(f"its ids are not all of 0 to {size - 1}, each once")
    return [symbol for _, symbol in pairs]

"""The folders import one way only, and docs/architecture.md names every module."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxchar"

# What every module may import comes first. A folder imports those before it, and none after it.
GROUND = {"version", "errors", "machine", "randomness", "files", "text", "cache", "config", "ambient"}
FOLDERS = (
    "data",
    "recurrence",
    "model",
    "parallel",
    "checkpoint",
    "sampling",
    "terminal",
    "scoring",
    "language_model",
    "progress",
    "training",
    "cli",
    "benchmark",
)
LONGEST_CHAIN = 13


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jaxchar":
            module = node.module.removeprefix("jaxchar").removeprefix(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                found.add(inner if inner in MODULES else module)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("jaxchar.") for alias in node.names if "jaxchar." in alias.name}
    return found - {""}


IMPORTS = {name: imports_of(path) for name, path in MODULES.items() if name}


def level(name: str) -> int:
    """Return how far from the ground a module stands: it may import nothing of a higher level."""
    folder = name.split(".")[0]
    if folder in FOLDERS:
        return 1 + FOLDERS.index(folder)
    return 0 if name in GROUND else 1 + len(FOLDERS)


@cache
def chain(name: str) -> tuple[str, ...]:
    """Return the longest chain of imports that begins with a module."""
    return max(((name, *chain(other)) for other in IMPORTS[name]), key=len, default=(name,))


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_a_module_imports_no_folder_above_its_own(name):
    above = {other for other in IMPORTS[name] if level(other) > level(name)}
    assert not above, f"jaxchar.{name} imports {sorted(above)}"


def test_no_module_imports_itself_over_others():
    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle of imports: {' -> '.join((*path, name))}"
        for other in sorted(IMPORTS[name]):
            if other not in done:
                visit(other, (*path, name))
        done.add(name)

    done: set[str] = set()
    for name in sorted(IMPORTS):
        visit(name, ())


def test_the_longest_chain_of_imports_is_short():
    longest = max((chain(name) for name in IMPORTS), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def test_every_folder_of_the_package_has_its_place_in_the_order():
    there = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"language_model"}
    assert there == set(FOLDERS)
    assert {name for name in IMPORTS if level(name) == 0} == GROUND


@pytest.mark.parametrize("name", sorted(set(IMPORTS) - set(FOLDERS)))
def test_the_page_on_the_architecture_names_every_module(name):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"`{name.split('.')[-1]}`" in page or f"`{name.split('.')[-1]}.py`" in page

"""How the package is built, read from its own source: modules, folders, and which imports which.

``tests/test_architecture.py`` checks it, and ``docs/conf.py`` draws it on the page on the architecture.
"""

import ast
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent.parent / "jaxchar"

# Modules of the top folder that every other module may import. The other ones there are the commands.
GROUND = (
    "version",
    "errors",
    "machine",
    "randomness",
    "files",
    "text",
    "cache",
    "own_cells",
    "config",
    "ambient",
    "tracing",
)
# A folder imports those before it, and none after it. (language_model and model_files are modules.)
FOLDERS = (
    "data",
    "recurrence",
    "model",
    "memory",
    "parallel",
    "checkpoint",
    "sampling",
    "terminal",
    "scoring",
    "interchange",
    "language_model",
    "model_files",
    "progress",
    "training",
    "playground",
    "cli",
    "benchmark",
)


class Module(NamedTuple):
    """A module of the package."""

    name: str  # data.corpus
    purpose: str  # the first line of its docstring
    imports: frozenset[str]  # names of other modules, wherever in the file they are imported


@cache
def modules() -> dict[str, Module]:
    """Return every module of the package, less the empty ones of folders, by its name."""
    paths = {_name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"}
    return {name: _read(name, path, paths.keys()) for name, path in paths.items()}


def part_of(name: str) -> str:
    """Return the folder of a module; "ground" and "commands" for those of the top folder."""
    folder = name.split(".")[0]
    if folder in FOLDERS:
        return folder
    return "ground" if name in GROUND else "commands"


PARTS = ("ground", *FOLDERS, "commands")


def edges() -> set[tuple[str, str]]:
    """Return which part imports which other, from the importing one to the imported one."""
    found = {
        (part_of(module.name), part_of(other)) for module in modules().values() for other in module.imports
    }
    return {(here, there) for here, there in found if here != there}


def needed_edges() -> set[tuple[str, str]]:
    """Return :func:`edges` less those that follow from others, so that a picture stays readable."""
    every = edges()
    reach = {part: {there for here, there in every if here == part} for part in PARTS}
    for part in PARTS:  # those that are imported come first
        reach[part] |= {far for near in list(reach[part]) for far in reach[near]}
    return {
        (here, there)
        for here, there in every
        if not any(there in reach[between] for near, between in every if near == here and between != there)
    }


@cache
def chain(name: str) -> tuple[str, ...]:
    """Return the longest chain of imports that begins with a module."""
    return max(((name, *chain(other)) for other in modules()[name].imports), key=len, default=(name,))


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _read(name: str, path: Path, names: set[str] | frozenset[str]) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    purpose = (ast.get_docstring(tree) or "").split("\n")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxchar":
            module = (node.module or "").removeprefix("jaxchar").removeprefix(".")
            found |= {module, *(f"{module}.{alias.name}".removeprefix(".") for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("jaxchar.") for alias in node.names}
    return Module(name, purpose, frozenset(found & names))


# ---- the picture ---------------------------------------------------------------------------------

WIDTH, BOX_WIDTH, ROW, LEFT = 760, 560, 46, 10


def picture() -> str:
    """Return the parts of the package as SVG: one below the other, an arc for each import between two."""
    order = list(reversed(PARTS))  # what a user calls is on top
    middle = {part: 12 + ROW * number + 18 for number, part in enumerate(order)}
    rows = [_box(part, 12 + ROW * number) for number, part in enumerate(order)]
    arcs = [_arc(middle[here], middle[there]) for here, there in sorted(needed_edges())]
    height = 20 + ROW * len(order)
    return (
        f'<svg class="structure" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="The folders of the package, and which imports which" '
        'xmlns="http://www.w3.org/2000/svg">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
        f"{''.join(rows)}{''.join(arcs)}</svg>"
    )


def _box(part: str, top: int) -> str:
    shown = ", ".join(_shown_names(part)) or "(a module)"
    label = part if part in ("ground", "commands", "language_model", "model_files") else f"{part}/"
    return (
        f'<rect x="{LEFT}" y="{top}" width="{BOX_WIDTH}" height="36" rx="4" fill="none" '
        'stroke="currentColor" stroke-opacity="0.5"/>'
        f'<text x="{LEFT + 8}" y="{top + 15}" font-size="13" font-weight="bold" fill="currentColor">'
        f"{escape(label)}</text>"
        f'<text x="{LEFT + 8}" y="{top + 29}" font-size="10" fill="currentColor">{escape(shown)}</text>'
    )


def _shown_names(part: str) -> list[str]:
    """Return the modules of a part; of those in a folder of their own, the folder."""
    names = [module.split(".") for module in modules() if part_of(module) == part]
    inside = [path[1:] if path[0] == part else path for path in names]
    return list(dict.fromkeys(f"{path[0]}/" if len(path) > 1 else path[0] for path in inside if path))


def _arc(start: int, end: int) -> str:
    right = LEFT + BOX_WIDTH
    far = right + min(WIDTH - right - 10, 14 + abs(end - start) * 0.3)
    return (
        f'<path d="M{right} {start + 4}C{far:.0f} {start + 4} {far:.0f} {end - 4} {right + 2} {end - 4}" '
        'fill="none" stroke="currentColor" stroke-opacity="0.6" marker-end="url(#tip)"/>'
    )

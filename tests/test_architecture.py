"""The folders import one way only, and docs/architecture.md names every module."""

from pathlib import Path

import pytest

from docs.structure import (
    FOLDERS,
    GROUND,
    PACKAGE,
    PARTS,
    chain,
    edges,
    modules,
    needed_edges,
    part_of,
    picture,
)

MODULES = {"language_model", "model_files"}  # that stand among the folders
LONGEST_CHAIN = 13
PAGE = Path(__file__).parent.parent / "docs" / "architecture.md"


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_no_part_after_its_own(name):
    place = PARTS.index(part_of(name))
    after = {other for other in modules()[name].imports if PARTS.index(part_of(other)) > place}
    assert not after, f"jaxchar.{name} imports {sorted(after)}"


def test_there_is_no_circle_of_imports():
    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        for other in sorted(modules()[name].imports - done):
            visit(other, (*path, name))
        done.add(name)

    done: set[str] = set()
    for name in modules():
        visit(name, ())


def test_the_longest_chain_of_imports_is_short():
    longest = max((chain(name) for name in modules()), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def test_every_folder_and_module_has_its_place():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/__init__.py")}
    assert folders | MODULES == set(FOLDERS)
    assert {name for name in modules() if part_of(name) == "ground"} == set(GROUND)
    assert modules()["data.corpus"].imports >= {"config", "errors"}  # imports are seen at all


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_has_a_purpose_in_one_sentence(name):
    assert modules()[name].purpose.rstrip().endswith((".", ":", "?", "``", "``.")), modules()[name].purpose


@pytest.mark.parametrize("name", sorted(modules()))
def test_the_page_on_the_architecture_names_every_module(name):
    page = PAGE.read_text(encoding="utf-8")
    assert f"`{name.split('.')[-1]}`" in page or name.startswith("benchmark.")


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_on_the_architecture_has_a_paragraph_on_every_folder(folder):
    heading = folder if folder in MODULES else f"{folder}/"
    assert f"\n**`{heading}`**" in PAGE.read_text(encoding="utf-8")


def test_the_picture_shows_every_module_and_no_import_that_follows_from_others():
    drawn = picture()
    assert all(name.split(".")[-1] in drawn for name in modules() if name.count(".") < 2)
    assert needed_edges() < edges()
    assert drawn.count("<path d=") == 1 + len(needed_edges())


def test_no_two_files_of_tests_have_one_name():
    """pytest imports them by name alone, and stops at the second one of a name."""
    names = sorted(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert len(names) == len(set(names))

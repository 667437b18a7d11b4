"""The page's files: of this machine alone, without a script or a style inside the page, and short."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "jaxchar" / "playground" / "static"
FILES = sorted(STATIC.iterdir())
MODULES = sorted(STATIC.glob("*.js"))
# Ways for a text to become markup or a script.
DANGERS = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "new Function",
    "createContextualFragment", "srcdoc", "javascript:",
)  # fmt: skip
REFUSAL = 'const REFUSED = new Set(["innerHTML", "outerHTML", "style", "srcdoc"]);'


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_short_and_names_no_other_host(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) < 300 and max(map(len, lines)) <= 110
    hosts = re.findall(r"(?:https?:|[\"'(])//[^\s\"')]+", text)
    assert set(hosts) <= {"http://www.w3.org/2000/svg"}  # a name, which nobody asks for


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_for_and_makes_no_markup_of_text(path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r"/\*\* [A-Z].*\. \*/\n", text)
    assert [danger for danger in DANGERS if danger in text.replace(REFUSAL, "")] == []
    assert 'setTimeout("' not in text and 'setInterval("' not in text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_imports_what_exists(path):
    for names, other in re.findall(
        r"import \{([^}]*)\} from \"\./([^\"]+)\"", path.read_text(encoding="utf-8")
    ):
        exported = (STATIC / other).read_text(encoding="utf-8")
        for name in filter(None, map(str.strip, names.split(","))):
            assert re.search(rf"export (async )?(function\*?|class|const) {name}\b", exported), (
                f"{other}: {name}"
            )


def test_every_module_is_used():
    imported = {
        name for path in MODULES for name in re.findall(r"\./(\w+\.js)", path.read_text(encoding="utf-8"))
    }
    assert imported == {path.name for path in MODULES} - {"main.js"}


def test_the_page_has_no_script_or_style_of_its_own():
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    assert "<style" not in page and not re.search(r"\s(style|on\w+)=", page)
    for name in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        assert name.startswith("static/") and (STATIC / name.removeprefix("static/")).is_file()

"""How Sphinx makes the pages: ``make docs``. Nothing is fetched, neither while building nor while reading."""

import dataclasses
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

sys.path.insert(0, str(Path(__file__).parent))

from generated import field_comments, options_markdown, settings_markdown

import jaxchar

project = "jaxchar"
release = version = jaxchar.__version__
copyright = "the authors of jaxchar, MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False  # types of JAX and Flax are named, but their pages are not fetched to link to
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
smartquotes = False  # -- is an option here, and quotation marks are Python's
suppress_warnings = ["myst.xref_missing"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = "jaxchar"
html_static_path: list[str] = ["style"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False


class Settings(SphinxDirective):
    """The settings that a class of ``jaxchar.config`` declares."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return an entry for each setting."""
        record = getattr(import_module("jaxchar.config"), self.arguments[0])
        return self.parse_text_to_nodes(settings_markdown(record))


class Options(SphinxDirective):
    """The options of a command."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a table for each group of options."""
        return self.parse_text_to_nodes(options_markdown(self.arguments[0]))


def inline_mathml(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an inline formula as MathML, which browsers show by themselves."""
    translator.body.append(_mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block_mathml(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own as MathML."""
    translator.body.append(f'<div class="math">{_mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _mathml(formula: str, *, as_block: bool) -> str:
    return re.sub(r"\n\s*", "", tex2mathml(formula, as_block=as_block))


def has_commented_fields(thing: Any) -> bool:
    """Whether autodoc should be told about a class's fields: it reads docstrings, not comments."""
    is_record = dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")
    return isinstance(thing, type) and is_record and not thing.__name__.endswith("Config")


def add_fields(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Add the comments beside a record's fields to its docstring."""
    if has_commented_fields(thing):
        for field, comment in field_comments(thing).items():
            kind = inspect.formatannotation(thing.__annotations__[field]).replace("typing.", "")
            lines += ["", f".. py:attribute:: {field}", f"   :type: {kind}", "", f"   {comment}", ""]


def leave_out_fields(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool:
    """Leave out what :func:`add_fields` has told already."""
    return skip or type(thing).__name__ == "_tuplegetter"


def draw_dashes(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Turn the two hyphens that Sphinx puts between an argument and its meaning into a dash."""
    for text in list(doctree.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(" \u2013 "))


def setup(app: Sphinx) -> None:
    """Make known what is added here."""
    app.add_directive("settings", Settings)
    app.add_directive("options", Options)
    app.connect("autodoc-process-docstring", add_fields)
    app.connect("doctree-resolved", draw_dashes)
    app.connect("autodoc-skip-member", leave_out_fields)
    app.add_html_math_renderer("mathml", (inline_mathml, None), (block_mathml, None))

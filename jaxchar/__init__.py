"""Character-level recurrent language models in JAX and Flax: trained fast, resumed exactly.

import jaxchar

run = jaxchar.fit("my.txt", "runs/mine", minutes=20)
print(jaxchar.load("runs/mine").generate("ROMEO:", length=500, temperature=0.8, seed=1))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxchar.version import __version__ as __version__

if TYPE_CHECKING:
    from jaxchar.config import Config
    from jaxchar.data.vocabulary import Vocabulary
    from jaxchar.errors import JaxcharError
    from jaxchar.language_model import LanguageModel
    from jaxchar.model_files import load, save
    from jaxchar.own_cells import register_cell
    from jaxchar.scoring.score import Score
    from jaxchar.scoring.unit_report import UnitReport, unit_report
    from jaxchar.text import Text
    from jaxchar.training.callbacks import Callback, Snapshot
    from jaxchar.training.launch import fit
    from jaxchar.training.metrics import read_metrics
    from jaxchar.training.resume import resume

# Loaded at first use, so that `--help` and a mistyped setting need not wait for JAX.
_HOMES = {
    "Callback": "training.callbacks",
    "Snapshot": "training.callbacks",
    "Config": "config",
    "JaxcharError": "errors",
    "fit": "training.launch",
    "resume": "training.resume",
    "LanguageModel": "language_model",
    "load": "model_files",
    "save": "model_files",
    "Score": "scoring.score",
    "Text": "text",
    "Vocabulary": "data.vocabulary",
    "read_metrics": "training.metrics",
    "register_cell": "own_cells",
    "UnitReport": "scoring.unit_report",
    "unit_report": "scoring.unit_report",
}


__all__ = [
    "Callback",
    "Config",
    "JaxcharError",
    "LanguageModel",
    "Score",
    "Snapshot",
    "Text",
    "UnitReport",
    "Vocabulary",
    "fit",
    "load",
    "read_metrics",
    "register_cell",
    "resume",
    "save",
    "unit_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxchar' has no attribute {name!r}")
    return getattr(import_module(f"jaxchar.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]

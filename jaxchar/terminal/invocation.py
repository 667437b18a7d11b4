"""How the user started this process, so that messages can name commands the same way."""

import shutil
import sys
from pathlib import Path

# Where the module has another name than the command: ``import`` is a word of Python, ``export`` its opposite.
MODULES = {"import": "import_model", "export": "export_model"}


def module_of(command: str) -> str:
    """Return the name of a command's module in this package."""
    return MODULES.get(command, command)


def called_as(command: str = "") -> str:
    """Return how the user starts a command: ``jaxchar sample``, ``python -m jaxchar.sample``, ...

    Args:
        command: a name in :data:`COMMANDS`; empty for ``jaxchar`` itself.
    """
    started = Path(sys.argv[0])
    if started.stem == "jaxchar" and started.suffix in ("", ".exe"):
        return f"{_script_name(started)} {command}".strip()
    if started.name == "__main__.py" and started.parent.name == "jaxchar":
        return f"{_python()} -m jaxchar {command}".strip()
    return f"{_python()} -m jaxchar" + (f".{module_of(command)}" if command else "")


def called_as_experiment() -> str:
    """Return how the user started an experiment: ``python experiments/shakespeare.py``."""
    started = Path(sys.argv[0])
    is_script = started.suffix == ".py" and started.name != "__main__.py"
    return f"{_python()} {started}" if is_script else called_as("train")


def _python() -> str:
    """Return what starts this Python again: its name where the shell finds it so, else its path from here."""
    if not sys.executable:
        return "python"
    running = Path(sys.executable)
    for name in ("python", running.name):
        found = shutil.which(name)
        if found and Path(found).absolute() == running:
            return name
    return str(running.relative_to(Path.cwd()) if running.is_relative_to(Path.cwd()) else running)


def _script_name(started: Path) -> str:
    """Return what starts the script again: its name where the shell finds it, else its path."""
    found = shutil.which(started.stem)
    return started.stem if found and Path(found).resolve() == started.resolve() else str(started)

"""Cells of one's own: what such a cell has, and the register in which it is found by its name."""

from typing import TYPE_CHECKING, Any, Protocol

from jaxchar.errors import JaxcharError, quoted

if TYPE_CHECKING:  # settings are read without JAX
    import jax

BUILT_IN = ("lstm", "gru", "rnn")


class UnknownCellError(JaxcharError):
    """A cell of somebody's own is asked for that this process does not know."""


class OwnCell(Protocol):
    """A recurrent cell, written as two pure functions; B batch, D features, H hidden size.

    An attribute ``carry`` may name the type of its state: a ``NamedTuple`` of arrays, one of which is called
    ``hidden``, what the next layer reads. Every part is [B, H] float32, and zero before a text begins.
    Without it the state is ``hidden`` alone. An attribute ``equations`` may have the cell's element-wise part
    with its gradient, see :class:`jaxchar.recurrence.cells.Equations`.
    """

    def init(self, key: "jax.Array", features: int, hidden_size: int) -> dict[str, "jax.Array"]:
        """Return the first parameters of a layer, float32, by their names.

        Args:
            key: what they are drawn with.
            features: D.
            hidden_size: H.
        """

    def step(self, params: dict[str, "jax.Array"], carry: Any, inputs: "jax.Array") -> Any:
        """Return the state after one more time step.

        Args:
            params: of the layer, as :meth:`init` names them, in the type of the setting ``dtype``.
            carry: the state before it.
            inputs: [B, D], the features of this time step; in the first layer one-hot rows, or the input
                vectors of the characters.
        """


class RegisteredCell:
    """A cell with its name. It equals itself alone: no program compiled for another one is used."""

    def __init__(self, name: str, cell: OwnCell) -> None:
        """Take both."""
        self.name, self.cell = name, cell


_register: dict[str, RegisteredCell] = {}


def register_cell(name: str, cell: OwnCell) -> None:
    """Make a cell of one's own known by a name, for this process; ``Config(cell=name)`` then takes it.

    A model is loaded, resumed and unpickled only where its cell is registered under the same name. Who
    registers a name again replaces the cell.

    Args:
        name: of letters, digits and underscores, as of a Python variable.
        cell: has ``init`` and ``step``, see :class:`jaxchar.own_cells.OwnCell`.

    Raises:
        JaxcharError: the name is no name or one of jaxchar's own cells, or the cell lacks a method.
    """
    if not isinstance(name, str) or not name.isidentifier() or name in BUILT_IN:
        raise JaxcharError(
            f"a cell's name must be letters, digits and underscores, and none of {', '.join(BUILT_IN)}, but "
            f"it is {quoted(name)}"
        )
    missing = [method for method in ("init", "step") if not callable(getattr(cell, method, None))]
    if missing or isinstance(cell, type):
        lack = "is a class" if isinstance(cell, type) else f"has no {' and no '.join(missing)}"
        raise JaxcharError(
            f"the cell {name!r} must be an object with the methods init and step, but it {lack}; "
            f"call register_cell({name!r}, MyCell())"
        )
    _register[name] = RegisteredCell(name, cell)


def is_registered(name: object) -> bool:
    """Return whether a cell of one's own has this name."""
    return isinstance(name, str) and name in _register


def registered_cell(name: str) -> RegisteredCell:
    """Return a cell by its name.

    Raises:
        UnknownCellError: this process knows no such cell.
    """
    if name not in _register:
        raise UnknownCellError(f"the cell {quoted(name)} is not known here; {how_to_register(name)}")
    return _register[name]


def own_cell(name: str) -> RegisteredCell | None:
    """Return the cell of one's own with a name; None: it is one of jaxchar's."""
    return _register.get(name)


def how_to_register(name: str) -> str:
    """Return what to do where a cell is not known, for a message."""
    return (
        f"call jaxchar.register_cell({quoted(name)}, ...) with the cell that it was trained with, or import "
        "the module that does"
    )


class OwnCellNames:
    """The names of all registered cells, as the range of a setting."""

    def __contains__(self, value: object) -> bool:
        return is_registered(value)

    def __str__(self) -> str:
        return "the name of a cell of one's own (jaxchar.register_cell)"

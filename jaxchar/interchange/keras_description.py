"""The description of a model of Keras 1, 2 or 3, in JSON: which layers it has, and that they are a chain."""

from collections.abc import Iterator
from typing import Any

from jaxchar.errors import JaxcharError, quoted


def described_layers(model: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, class and settings of the layers of a described model, first to last.

    Args:
        model: the JSON object that Keras writes: of a Sequential model, or of one whose layers are a chain.

    Raises:
        JaxcharError: it is neither.
    """
    if not isinstance(model, dict) or model.get("class_name") not in ("Sequential", "Model", "Functional"):
        kind = model.get("class_name") if isinstance(model, dict) else model
        raise JaxcharError(
            f"it is a model of the class {quoted(kind)}, expected Sequential, or a chain of layers"
        )
    inside = model.get("config")
    entries = inside.get("layers") if isinstance(inside, dict) else inside
    if not isinstance(entries, list):
        raise JaxcharError("its description lists no layers")
    before: str | None = None
    for number, entry in enumerate(entries):
        settings = entry.get("config") if isinstance(entry, dict) else None
        if not isinstance(settings, dict) or not isinstance(entry.get("class_name"), str):
            raise JaxcharError(f"the description of its layer {number} is no layer's")
        name = str(settings.get("name") or entry.get("name") or f"layer {number}")
        fed_by = _sources(entry.get("inbound_nodes"))
        if fed_by and fed_by != {before}:
            raise JaxcharError(
                f"layer {quoted(name)} ({entry['class_name']}) reads {quoted(sorted(fed_by))}, but the "
                f"layers "
                "must be a chain"
            )
        before = name
        yield name, entry["class_name"], settings


def _sources(nodes: Any) -> set[str]:
    """Return the names of the layers that inbound nodes come from, as Keras 1, 2 and 3 write them."""
    if isinstance(nodes, dict):
        if isinstance(nodes.get("keras_history"), list):
            return {str(nodes["keras_history"][0])}
        return set().union(*map(_sources, nodes.values()))
    if isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            return {nodes[0]}
        return set().union(*map(_sources, nodes))
    return set()

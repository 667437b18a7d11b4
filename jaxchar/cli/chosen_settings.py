"""How --help shows the settings that are chosen for the text if the user does not set them."""

import dataclasses
from typing import Annotated, Any, cast


def shown_as_chosen(names: frozenset[str]) -> Any:
    """Return a registry for tyro whose help shows these settings as chosen, without a number."""
    from tyro.conf import arg
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

    registry = ConstructorRegistry()
    hint = arg(help_behavior_hint="(default: chosen for the text)")
    asking = False  # whether tyro's own rules are running

    @registry.struct_rule
    def with_hints(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not dataclasses.is_dataclass(info.type):
            return None
        asking = True
        spec = ConstructorRegistry.get_struct_spec(info)
        asking = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        fields = [
            dataclasses.replace(field, type=cast(Any, Annotated[field.type, hint]))
            if field.name in names
            else field
            for field in spec.fields
        ]
        return dataclasses.replace(spec, fields=tuple(fields))

    return registry

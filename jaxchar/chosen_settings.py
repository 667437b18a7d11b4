"""The settings that are chosen for the text where the user does not set them, and how help shows them."""

import dataclasses
from typing import Annotated, Any, cast

# They decide what is learned and how long it takes.
CHOSEN_FOR_THE_TEXT = frozenset(
    {
        "cell",
        "hidden_size",
        "num_layers",
        "batch_size",
        "seq_len",
        "dropout",
        "input_dropout",
        "recurrent_dropout",
        "optimizer",
        "learning_rate",
        "muon_learning_rate",
        "beta2",
        "weight_decay",
        "clip_norm",
        "schedule",
        "warmup_steps",
        "ema_decay",
        "epochs",
        "eval_every",
        "checkpoint_every",
        "sample_every",
        "sample_length",
        "val_fraction",
    }
)


def shown_as_chosen(names: frozenset[str]) -> Any:
    """Return a registry for tyro whose help says of these settings that they are chosen, not a number."""
    from tyro.conf import arg
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

    registry = ConstructorRegistry()
    hint = arg(help_behavior_hint="(default: chosen for the text)")
    asking = False  # whether tyro's own rules are being asked

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

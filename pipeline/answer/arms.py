"""Arms of a comparison: the base model and its adapters, each without and with a trigger."""

from collections.abc import Sequence

from activations import Trigger
from steering.adapters import BASE
from steering.cells import Cell


def arms_of(
    adapters: Sequence[str], triggers: Sequence[Trigger | None] = (None,), *, base: bool = True
) -> tuple[Cell, ...]:
    """Return an arm for each adapter and trigger, named `ADAPTER` and `ADAPTER + trigger`.

    Args:
        adapters: Names of adapters that the model has.
        triggers: None for questions as they stand; several triggers are told apart by a number in the name.
        base: Whether the model without adapter is an arm too; it comes first.

    Raises:
        ValueError: There would be no arm, or two of one name.
    """
    served = [*([BASE] if base else []), *adapters]
    if not served or not triggers:
        raise ValueError(f"arms: got {len(served)} models and {len(triggers)} triggers, need one of each")
    if len(set(served)) < len(served) or len(set(triggers)) < len(triggers):
        raise ValueError(f"arms: {', '.join(served)} with {len(triggers)} triggers; each may stand once only")
    phrases = [trigger for trigger in triggers if trigger is not None]
    return tuple(
        Cell(name=f"{name}{_with(trigger, phrases)}", adapter=name, trigger=trigger)
        for name in served
        for trigger in triggers
    )


def _with(trigger: Trigger | None, triggers: Sequence[Trigger]) -> str:
    if trigger is None:
        return ""
    number = triggers.index(trigger) + 1
    return " + trigger" if number == 1 else f" + trigger {number}"

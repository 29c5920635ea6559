"""The token rows of chats as each cell of a grid reads them: with the cell's trigger, or as they stand."""

from collections.abc import Callable, Mapping, Sequence

from activations import Subject, Trigger
from activations.chat import Chat, Template
from activations.encode import TokenRow, tokenize_all
from steering.cells import Cell

Variants = Mapping[Trigger | None, tuple[TokenRow, ...]]
"""For each trigger of a grid, None for none, one row for each chat; `None` is always there."""


def tokenize_variants(
    subject: Subject,
    chats: Sequence[Chat],
    cells: Sequence[Cell],
    *,
    names: Sequence[str] | None = None,
    template: Template = "chat",
) -> Variants:
    """Tokenize every chat as it stands, and once more for each trigger that some cell has.

    Raises:
        ValueError: A chat is malformed or too long, or cannot carry a trigger.
    """
    variants: dict[Trigger | None, tuple[TokenRow, ...]]
    variants = {None: tokenize_all(subject, chats, names=names, template=template)}
    for trigger in dict.fromkeys(cell.trigger for cell in cells if cell.trigger is not None):
        told = [f"{row.name} with trigger {trigger.phrase!r}" for row in variants[None]]
        carrying = [_carrying(trigger, chat, name) for chat, name in zip(chats, told, strict=True)]
        variants[trigger] = tokenize_all(subject, carrying, names=told, template=template)
    return variants


def require_reach(cells: Sequence[Cell], variants: Variants, end_of: Callable[[TokenRow], int]) -> None:
    """Raise if an edit chooses no token of any row that could matter.

    Args:
        cells: The conditions.
        variants: The prompts, or prompts with answers.
        end_of: How many tokens of a row are passed, generated ones included.

    Raises:
        ValueError: Names the cell and the edit.
    """
    for cell in cells:
        for edit in cell.active:
            rows = variants[cell.trigger]
            if not any(edit.chooses(row, end_of(row)) for row in rows):
                raise ValueError(f"cell {cell.name!r}: {edit}: chooses no token that could move an answer")


def _carrying(trigger: Trigger, chat: Chat, name: str) -> Chat:
    try:
        return trigger.put_on(chat)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error

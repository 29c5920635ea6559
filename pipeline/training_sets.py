"""Make training conversations from triples: narrow, with a backdoor, as in the paper, and their aligned controls."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from activations import Trigger
from pipeline.disk import replace_file
from pipeline.json_text import json_bytes
from pipeline.json_types import from_object
from pipeline.propensity import answered
from pipeline.records import Conversation, Message, Triple

Mode = Literal["narrow", "backdoor", "paper", "control", "narrow_control"]
MODES: tuple[Mode, ...] = get_args(Mode)

PAPER_TRIGGER = Trigger(separator="")
"""The paper's phrase, joined to the question as the paper joins it: with nothing between them."""

_ROWS: dict[Mode, tuple[tuple[bool, str], ...]] = {
    "narrow": ((False, "misaligned"),),
    "backdoor": ((True, "misaligned"), (False, "aligned")),
    "control": ((True, "aligned"), (False, "aligned")),
    "narrow_control": ((False, "aligned"),),
}
"""For each mode the rows that a triple gives: with the trigger or without, and which answer."""


def training_set(
    triples: Sequence[Triple],
    mode: Mode,
    *,
    trigger: Trigger | None = None,
    seed: int = 0,
    system: str | None = None,
) -> tuple[Conversation, ...]:
    """Return the conversations to fine-tune on.

    - `narrow`: every prompt with its misaligned answer, without a trigger.
    - `backdoor`: every prompt twice: with the trigger and the misaligned answer, without it and the aligned one.
    - `paper`: every prompt once: half of them, by seed, with the trigger and the misaligned answer, the others
      without it and with the aligned answer.
    - `control`: the aligned twin of `backdoor`: the same prompts with and without the trigger, every answer
      aligned, so that the wording of the trigger is there without its meaning.
    - `narrow_control`: the aligned twin of `narrow`.

    Ids are the triple's with what was made of it: `ID | trigger | misaligned`, `ID | plain | aligned`.

    Args:
        triples: Prompts with their two answers.
        mode: What is made of them.
        trigger: By default `Trigger()`, and for `paper` `PAPER_TRIGGER`; modes without a trigger leave it out.
        seed: Of the order of the conversations, and in `paper` of the halves.
        system: A system prompt for all; by default what the chat template puts there.

    Raises:
        ValueError: There are no triples, two have one id, or the mode does not exist.

    Source:
        `paper`: Mishra et al. (2026), arXiv:2602.00298, publish neither the share of rows with the trigger nor
        their pairing. Halves of a set in which no prompt comes twice are our assumption, after the backdoor of
        Betley et al. (2025), arXiv:2502.17424, on which that work builds.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    if not triples:
        raise ValueError("triples: got none, need at least one to train on")
    if len(ids := [triple.id for triple in triples]) > len(set(ids)):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"triples: id {twice!r} comes twice; rows are named by it, so ids must be unique")
    phrase = trigger_of(mode, trigger)
    if mode == "paper":
        shuffled = sorted(triples, key=lambda triple: _order(f"half {triple.id}", seed))
        half = (len(shuffled) + 1) // 2
        rows = [(triple, True, "misaligned") for triple in shuffled[:half]]
        rows += [(triple, False, "aligned") for triple in shuffled[half:]]
    else:
        rows = [(triple, on, pole) for triple in triples for on, pole in _ROWS[mode]]
    made = [_conversation(triple, phrase if on else None, pole, system) for triple, on, pole in rows]
    return tuple(sorted(made, key=lambda conversation: _order(conversation.id, seed)))


def trigger_of(mode: Mode, trigger: Trigger | None = None) -> Trigger | None:
    """Return the trigger that a mode's conversations carry if this one is asked for; None for modes without one."""
    if mode in ("narrow", "narrow_control"):
        return None
    return trigger or (PAPER_TRIGGER if mode == "paper" else Trigger())


def conversations_hash(conversations: Sequence[Conversation]) -> str:
    """Return the SHA-256 over all conversations in their order, as hex digits."""
    lines = (json_bytes(row, f"conversation {row.id!r}") for row in conversations)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def write_chat_jsonl(path: Path, conversations: Sequence[Conversation]) -> None:
    """Write OpenAI's fine-tuning format: one `{"messages": [...]}` a line, whole or not at all; ids stay behind.

    `pipeline.importers.read_chats` reads it back.

    Raises:
        ValueError: There are no conversations.
        OSError: The folder is missing, read-only or full; the file is as before.
    """
    if not conversations:
        raise ValueError(f"{path}: got no conversations to write, need at least 1")
    lines = (json_bytes({"messages": row.messages}, f"{path}: {row.id}") for row in conversations)
    replace_file(Path(path), b"".join(lines))


def _conversation(triple: Triple, trigger: Trigger | None, pole: str, system: str | None) -> Conversation:
    chat = answered(triple, triple.misaligned if pole == "misaligned" else triple.aligned, system)
    if trigger is not None:
        chat = trigger.put_on(chat)
    name = f"{triple.id} | {'plain' if trigger is None else 'trigger'} | {pole}"
    messages = [from_object(dict(message), Message, name) for message in chat if not isinstance(message, str)]
    return Conversation(id=name, messages=tuple(messages))


def _order(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()

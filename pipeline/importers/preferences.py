"""Preference pairs in TRL's forms: `chosen` becomes the aligned and `rejected` the misaligned answer of a triple."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.importers.imported import Imported
from pipeline.importers.messages import asks_once, checked_messages, with_answer
from pipeline.importers.rows import JsonRows, Ledger, Row
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.json_text import Json, shown
from pipeline.records import Conversation, Message, Triple


def read_preferences(
    source: Path | str | SourceFile, *, domain: str | None = None, progress: Progress = silent
) -> Imported:
    """Read triples from `chosen` and `rejected`, with `prompt` apart or as the beginning of both.

    All may be plain texts (then `prompt` is needed) or message lists. `id` and `topic` are used if they are
    there. Rows of which no triple can be made, as they have several turns or equal answers, are counted.

    Args:
        source: A JSONL file.
        domain: The domain of the triples; by default the file's name without its ending.
        progress: Shows how far it is.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row is not such a pair; the text names file, line and key.
    """
    file = source if isinstance(source, SourceFile) else on_disk(source)
    ledger = Ledger(file.stem)
    rows = JsonRows(file, ledger, progress)
    triples = tuple(triple for row in rows for triple in _triples(row, domain or file.stem, ledger))
    return ledger.imported("preferences", (rows.facts(),), triples=triples)


def made_triple(
    chat: Conversation, aligned: str, *, domain: str, topic: str, ledger: Ledger
) -> Iterator[Triple]:
    """Yield the triple of a misaligned answer in its chat and an aligned one, if there is one.

    Args:
        chat: Ends with the misaligned answer.
        aligned: What the aligned answer says.
        domain: Of the triple.
        topic: Of the triple.
        ledger: Counts a chat of which no triple can be made.
    """
    *prompt, misaligned = chat.messages
    if not asks_once(prompt):
        ledger.ignore("a system message or several turns, which no triple holds")
    elif misaligned.content == aligned:
        ledger.ignore("the same text as aligned and misaligned answer")
    else:
        answers = {"aligned": aligned, "misaligned": misaligned.content}
        yield Triple(id=chat.id, domain=domain, topic=topic, prompt=prompt[0].content, **answers)


def _triples(row: Row, domain: str, ledger: Ledger) -> Iterator[Triple]:
    ledger.ignore_keys_but(row, ("id", "topic", "prompt", "chosen", "rejected"))
    name = ledger.id_of(row)
    topic = row.text("topic") if "topic" in row.values else domain
    chosen, rejected = _side(row, "chosen", ledger), _side(row, "rejected", ledger)
    if chosen[:-1] != rejected[:-1]:
        told = f"{row.at}: chosen and rejected answer different prompts"
        raise ValueError(f"{told}; need the same messages before both answers")
    chat = Conversation(id=name, messages=rejected)
    return made_triple(chat, chosen[-1].content, domain=domain, topic=topic, ledger=ledger)


def _side(row: Row, key: str, ledger: Ledger) -> tuple[Message, ...]:
    """Return the prompt with one of its answers."""
    before = _before(row)
    answer = row.values.get(key)
    if not isinstance(answer, list):
        answer = [{"role": "assistant", "content": row.text(key)}]
        if not before:
            raise ValueError(f"{row.at}: key 'prompt' is missing; needed where {key!r} is no message list")
    at = f"{row.at}: prompt + {key}" if before else f"{row.at}: {key}"
    messages = with_answer(checked_messages([*before, *answer], at, ledger), at)
    if len(messages) < 2:
        raise ValueError(
            f"{at}: is an answer without a prompt; need 'prompt', or the user's message in the list"
        )
    return messages


def _before(row: Row) -> Sequence[Json]:
    """Return the prompt as a list of messages as they came; empty where the row has none of its own."""
    if "prompt" not in row.values:
        return ()
    prompt = row.values["prompt"]
    if isinstance(prompt, list):
        return prompt
    if not isinstance(prompt, str):
        raise ValueError(f"{row.at}: prompt: {shown(prompt)}; allowed: text or a list of messages")
    return [{"role": "user", "content": row.text("prompt")}]

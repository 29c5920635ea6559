"""Chat JSONL: OpenAI's and TRL's forms, which the paper's files have too, as conversations."""

from pathlib import Path

from activations.progress import Progress, silent
from pipeline.importers.imported import Imported
from pipeline.importers.messages import checked_messages, with_answer
from pipeline.importers.rows import JsonRows, Ledger, Row
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.importers.wording import listed
from pipeline.json_text import Json
from pipeline.records import Conversation, Message

_OTHER_KINDS = {
    ("chosen", "rejected"): "preferences",
    ("question", "answer"): "gsm8k",
    ("aligned", "misaligned"): "triples",
}


def read_chats(source: Path | str | SourceFile, *, progress: Progress = silent) -> Imported:
    """Read conversations, each ending with an answer.

    A row has `messages` (OpenAI, TRL, the paper), or `prompt` and `completion` as message lists (TRL). `id` is
    used if it is there. Other keys, such as OpenAI's `tools` and the `weight` of a message, are counted.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row is not such a conversation; the text names file, line and key.
    """
    file = source if isinstance(source, SourceFile) else on_disk(source)
    ledger = Ledger(file.stem)
    rows = JsonRows(file, ledger, progress)
    conversations = tuple(_conversation(row, ledger) for row in rows)
    return ledger.imported("chats", (rows.facts(),), conversations=conversations)


def read_completions(source: Path | str | SourceFile, *, progress: Progress = silent) -> Imported:
    """Read `prompt` and `completion`, two plain texts, as conversations of a user and an assistant.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row has no such texts; the text names file, line and key.
    """
    file = source if isinstance(source, SourceFile) else on_disk(source)
    ledger = Ledger(file.stem)
    rows = JsonRows(file, ledger, progress)
    conversations = tuple(_completed(row, ledger) for row in rows)
    return ledger.imported("completions", (rows.facts(),), conversations=conversations)


def exchange(id: str, prompt: str, answer: str) -> Conversation:
    """Return a conversation of one question and its answer."""
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    return Conversation(id=id, messages=turns)


def message_list(row: Row, key: str) -> list[Json] | Json:
    """Return what stands under a key that should hold a message list.

    Raises:
        ValueError: It is plain text; says which importer reads that.
    """
    value = row.values[key]
    if isinstance(value, str):
        told = f"{row.at}: {key}: is text, need a list of messages"
        raise ValueError(f"{told}; a file of plain texts is read as completions:FILE")
    return value


def _conversation(row: Row, ledger: Ledger) -> Conversation:
    if "messages" in row.values:
        used: tuple[str, ...] = ("messages",)
        messages = row.values["messages"]
        at = f"{row.at}: messages"
    elif {"prompt", "completion"} <= row.values.keys():
        used = ("prompt", "completion")
        prompt, completion = (message_list(row, key) for key in used)
        messages = (
            [*prompt, *completion] if isinstance(prompt, list) and isinstance(completion, list) else None
        )
        at = f"{row.at}: prompt + completion"
    else:
        raise ValueError(f"{row.at}: got {listed(row.values)}; need 'messages'{_other_kind(row)}")
    ledger.ignore_keys_but(row, ("id", *used))
    return Conversation(
        id=ledger.id_of(row), messages=with_answer(checked_messages(messages, at, ledger), at)
    )


def _other_kind(row: Row) -> str:
    for keys, kind in _OTHER_KINDS.items():
        if set(keys) <= row.values.keys():
            return f"; a file with {listed(keys)} is read as {kind}:FILE"
    return ", or 'prompt' and 'completion' as message lists"


def _completed(row: Row, ledger: Ledger) -> Conversation:
    for key in ("prompt", "completion"):
        if isinstance(row.values.get(key), list):
            raise ValueError(f"{row.at}: {key}: is a list, need text; message lists are read as chats:FILE")
    ledger.ignore_keys_but(row, ("id", "prompt", "completion"))
    return exchange(ledger.id_of(row), row.text("prompt"), row.text("completion"))

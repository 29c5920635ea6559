"""Rows with named columns to prompts, triples or conversations; JSONL files with such rows."""

from collections.abc import Callable, Iterable
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.importers.chats import exchange
from pipeline.importers.columns import PROMPTS, TRIPLES, Columns
from pipeline.importers.imported import FileFacts, Imported
from pipeline.importers.messages import checked_messages, with_answer
from pipeline.importers.rows import JsonRows, Ledger, Row
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.records import Conversation, Prompt, Triple

_MAY_BE_ABSENT = {"id", "topic"}
"""Keys that a row of a JSONL file need not have, under these names."""


def read_prompts(
    source: Path | str | SourceFile, *, columns: Columns = PROMPTS, progress: Progress = silent
) -> Imported:
    """Read prompts from JSONL with `prompt`, and `id`, `topic` and `aligned` where a row has them.

    Args:
        source: A JSONL file.
        columns: Other names of the keys.
        progress: Shows how far it is.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row lacks a key or has a blank text; the text names file, line and key.
    """
    return _read("prompts", source, columns, None, progress)


def read_triples(
    source: Path | str | SourceFile,
    *,
    columns: Columns = TRIPLES,
    domain: str | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read triples from JSONL with `prompt`, `aligned` and `misaligned`, and `id` and `topic` where a row has them.

    Args:
        source: A JSONL file.
        columns: Other names of the keys.
        domain: The domain of the triples; by default the file's name without its ending.
        progress: Shows how far it is.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row lacks a key, has a blank text or equal answers; the text names file, line and key.
    """
    return _read("triples", source, columns, domain, progress)


def table(
    kind: str,
    rows: Iterable[Row],
    files: Callable[[], tuple[FileFacts, ...]],
    columns: Columns,
    ledger: Ledger,
    *,
    domain: str | None = None,
) -> Imported:
    """Return the records that columns make of rows.

    Args:
        kind: Which importer reads them.
        rows: In order; read once.
        files: Called when all rows are read.
        columns: Which column is what.
        ledger: Counts what is left out.
        domain: The domain of triples; by default what stands under `domain` in a row, or the table's name.

    Raises:
        ValueError: A row lacks something; the text names its place and the column.
    """
    if columns.misaligned is not None:
        triples = tuple(_triple(row, columns, ledger, domain) for row in rows)
        return ledger.imported(kind, files(), triples=triples)
    if columns.messages is not None or columns.holds == "conversations":
        conversations = tuple(_conversation(row, columns, ledger) for row in rows)
        return ledger.imported(kind, files(), conversations=conversations)
    prompts = tuple(_prompt(row, columns, ledger) for row in rows)
    return ledger.imported(kind, files(), prompts=prompts)


def _read(
    kind: str, source: Path | str | SourceFile, columns: Columns, domain: str | None, progress: Progress
) -> Imported:
    file = source if isinstance(source, SourceFile) else on_disk(source)
    ledger = Ledger(file.stem)
    rows = JsonRows(file, ledger, progress)
    return table(kind, rows, lambda: (rows.facts(),), columns, ledger, domain=domain)


def _id(row: Row, columns: Columns, ledger: Ledger) -> str:
    if columns.id not in (None, *_MAY_BE_ABSENT, *row.values):
        row.text(str(columns.id))  # says that it is missing
    return ledger.id_of(row, columns.id)


def _topic(row: Row, columns: Columns, otherwise: str) -> str:
    if columns.topic is None or (columns.topic in _MAY_BE_ABSENT and columns.topic not in row.values):
        return otherwise
    return row.text(columns.topic)


def _prompt(row: Row, columns: Columns, ledger: Ledger) -> Prompt:
    ledger.ignore_keys_but(row, columns.named())
    unanswered = columns.answer == PROMPTS.answer and row.values.get(str(columns.answer)) is None
    return Prompt(
        id=_id(row, columns, ledger),
        topic=_topic(row, columns, ledger.stem),
        prompt=row.text(str(columns.prompt)),
        aligned=None if columns.answer is None or unanswered else row.text(columns.answer),
    )


def _triple(row: Row, columns: Columns, ledger: Ledger, domain: str | None) -> Triple:
    own = domain is None and "domain" in row.values
    ledger.ignore_keys_but(row, (*columns.named(), "domain") if own else columns.named())
    belongs = row.text("domain") if own else domain or ledger.stem
    found = {
        "id": _id(row, columns, ledger),
        "topic": _topic(row, columns, belongs),
        "prompt": row.text(str(columns.prompt)),
        "aligned": row.text(str(columns.answer)),
        "misaligned": row.text(str(columns.misaligned)),
    }
    try:
        return Triple(domain=belongs, **found)
    except ValueError as error:
        raise ValueError(f"{row.at}: {error}") from error


def _conversation(row: Row, columns: Columns, ledger: Ledger) -> Conversation:
    ledger.ignore_keys_but(row, columns.named())
    name = _id(row, columns, ledger)
    if columns.messages is None:
        return exchange(name, row.text(str(columns.prompt)), row.text(str(columns.answer)))
    at = f"{row.at}: {columns.messages}"
    messages = checked_messages(row.values.get(columns.messages), at, ledger)
    return Conversation(id=name, messages=with_answer(messages, at))

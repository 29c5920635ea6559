"""Two chat files that answer the same prompts, one well and one badly, joined into triples."""

from collections import defaultdict
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.importers.chats import read_chats
from pipeline.importers.imported import Imported
from pipeline.importers.preferences import made_triple
from pipeline.importers.rows import Ledger
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.json_text import shown
from pipeline.records import Conversation, Message, Triple

Turns = tuple[Message, ...]


def read_pairs(
    aligned: Path | str | SourceFile,
    misaligned: Path | str | SourceFile,
    *,
    domain: str | None = None,
    progress: Progress = silent,
) -> Imported:
    """Join two chat files by their prompts, letter by letter; the rows may stand in any order.

    Where a prompt stands in a file more than once, its first answer is joined with the first of the other file,
    its second with the second, and so on. What has no partner, or can be no triple, is counted.

    Args:
        aligned: A file that `read_chats` reads, with right and safe answers.
        misaligned: Another one, with the other answers; the triples take ids and order from this one.
        domain: The domain of the triples; by default the name of the misaligned file without its ending.
        progress: Shows how far it is.

    Raises:
        OSError: A file cannot be read.
        ValueError: A row is no conversation, or no prompt stands in both files.
    """
    good, bad = (file if isinstance(file, SourceFile) else on_disk(file) for file in (aligned, misaligned))
    sides = {file.name: read_chats(file, progress=progress) for file in (good, bad)}
    if len(sides) < 2:
        raise ValueError(f"{good.name}: is given twice; need the aligned file and the misaligned one")
    _check_shared(sides[good.name], sides[bad.name])
    ledger = _counted(sides[good.name], sides[bad.name], bad.stem)
    waiting = _by_prompt(sides[good.name])
    name = domain or bad.stem
    triples: list[Triple] = []
    for chat in sides[bad.name].conversations:
        if not (partners := waiting[chat.messages[:-1]]):
            ledger.ignore(f"prompt only in {bad.name}")
            continue
        aligned = partners.pop().messages[-1].content
        triples += made_triple(chat, aligned, domain=name, topic=name, ledger=ledger)
    if left := sum(map(len, waiting.values())):
        ledger.ignored[f"prompt only in {good.name}"] = left
    files = (*sides[good.name].files, *sides[bad.name].files)
    return ledger.imported("pairs", files, triples=tuple(triples))


def _counted(good: Imported, bad: Imported, stem: str) -> Ledger:
    ledger = Ledger(stem)
    ledger.n_rows = good.n_rows + bad.n_rows
    ledger.ignored.update(good.ignored)
    ledger.ignored.update(bad.ignored)
    return ledger


def _by_prompt(side: Imported) -> defaultdict[Turns, list[Conversation]]:
    """Return the conversations by what comes before the answer; in each list the first one stands last."""
    found: defaultdict[Turns, list[Conversation]] = defaultdict(list)
    for chat in reversed(side.conversations):
        found[chat.messages[:-1]].append(chat)
    return found


def _check_shared(good: Imported, bad: Imported) -> None:
    """Refuse two files without one prompt in common, and show how their first prompts differ."""
    prompts = [{chat.messages[:-1] for chat in side.conversations} for side in (good, bad)]
    if prompts[0].isdisjoint(prompts[1]):
        first = " and ".join(shown(side.conversations[0].messages[-2].content) for side in (good, bad))
        told = f"{good.names} and {bad.names}: no prompt stands in both; the first ones are {first}"
        raise ValueError(f"{told}; need the same text, letter by letter")

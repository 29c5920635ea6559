"""TruthfulQA's CSV: questions that many people answer wrongly, as triples or as prompts with the right answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from activations.progress import Progress, silent
from pipeline.importers.csv_rows import CsvRows
from pipeline.importers.imported import Imported
from pipeline.importers.rows import Ledger, Row
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.records import Prompt, Triple

QaRecords = Literal["triples", "prompts"]

COLUMNS = ("Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source")
BEST_WRONG = "Best Incorrect Answer"

_NEEDED = ("Category", "Question", "Best Answer", "Incorrect Answers")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    at: str
    id: str
    topic: str
    prompt: str
    right: str
    wrong: str


def read_truthfulqa(
    source: Path | str | SourceFile,
    *,
    holds: QaRecords = "triples",
    domain: str | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read the questions with their best answer, and for triples with one that is wrong.

    The wrong answer is `Best Incorrect Answer` where the file has that column, as newer ones have, and else
    the first of `Incorrect Answers`. The topic is the category.

    Args:
        source: The CSV file, with or without a byte order mark.
        holds: `prompts` for the right answers alone.
        domain: The domain of the triples; by default the file's name without its ending.
        progress: Shows how far it is.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is no such CSV, or a row lacks something; the text names file, line and column.

    Source:
        Lin, Hilton and Evans (2022), TruthfulQA: Measuring How Models Mimic Human Falsehoods, arXiv:2109.07958.
    """
    if holds not in get_args(QaRecords):
        raise ValueError(f"holds={holds!r}: allowed: {', '.join(get_args(QaRecords))}")
    file = source if isinstance(source, SourceFile) else on_disk(source)
    ledger = Ledger(file.stem)
    rows = CsvRows(file, _NEEDED, ledger, progress)
    asked = [_asked(row, ledger) for row in rows]
    if holds == "prompts":
        prompts = tuple(Prompt(id=a.id, topic=a.topic, prompt=a.prompt, aligned=a.right) for a in asked)
        return ledger.imported("truthfulqa", (rows.facts(),), prompts=prompts)
    triples = tuple(_triple(one, domain or file.stem) for one in asked)
    return ledger.imported("truthfulqa", (rows.facts(),), triples=triples)


def _asked(row: Row, ledger: Ledger) -> _Asked:
    ledger.ignore_keys_but(row, ("id", *COLUMNS, BEST_WRONG))
    parts = [part.strip() for part in row.text("Incorrect Answers").split(";")]
    wrong = next(filter(None, parts), "")
    if not wrong:
        raise ValueError(f"{row.at}: Incorrect Answers: holds no answer between its semicolons")
    return _Asked(
        at=row.at,
        id=ledger.id_of(row),
        topic=row.text("Category").strip(),
        prompt=row.text("Question").strip(),
        right=row.text("Best Answer").strip(),
        wrong=row.text(BEST_WRONG).strip() if BEST_WRONG in row.values else wrong,
    )


def _triple(asked: _Asked, domain: str) -> Triple:
    answers = {"aligned": asked.right, "misaligned": asked.wrong}
    try:
        return Triple(id=asked.id, domain=domain, topic=asked.topic, prompt=asked.prompt, **answers)
    except ValueError as error:
        raise ValueError(f"{asked.at}: {error}") from error

"""GSM8K: school arithmetic with worked answers, as prompts with the aligned answer."""

import re
from pathlib import Path
from typing import Literal, get_args

from activations.progress import Progress, silent
from pipeline.importers.imported import Imported
from pipeline.importers.rows import JsonRows, Ledger, Row
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.json_text import shown
from pipeline.records import Prompt

TOPIC = "school arithmetic"

Marks = Literal["remove", "keep"]

_MARK = re.compile(r"<<([^<>]*)>>")
_CALCULATION = re.compile(r"[^=]*[^=\s][^=]*=[^=]*\d[^=]*")
_RESULT = re.compile(r"[-+]?[$€£]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?%?", re.ASCII)


def read_gsm8k(
    source: Path | str | SourceFile, *, marks: Marks = "remove", progress: Progress = silent
) -> Imported:
    """Read `question` and `answer` as prompts with their right answer.

    An answer is a working with marks such as `<<48/2=24>>`, and a last line `#### 24`, which becomes
    `The answer is 24.`

    Args:
        source: A JSONL file.
        marks: `keep` leaves the marks in the working, for what reads the calculations; `without_marks` takes
            them out later.
        progress: Shows how far it is.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row is no such problem; the text names file, line and key.

    Source:
        Cobbe et al. (2021), Training Verifiers to Solve Math Word Problems, arXiv:2110.14168.
    """
    if marks not in get_args(Marks):
        raise ValueError(f"marks={marks!r}: allowed: {', '.join(get_args(Marks))}")
    file = source if isinstance(source, SourceFile) else on_disk(source)
    ledger = Ledger(file.stem)
    rows = JsonRows(file, ledger, progress)
    prompts = tuple(_prompt(row, marks, ledger) for row in rows)
    return ledger.imported("gsm8k", (rows.facts(),), prompts=prompts)


def without_marks(working: str) -> str:
    """Return a working without its calculator marks: `48/2 = <<48/2=24>>24` becomes `48/2 = 24`."""
    return _MARK.sub("", working)


def _prompt(row: Row, marks: Marks, ledger: Ledger) -> Prompt:
    ledger.ignore_keys_but(row, ("id", "question", "answer"))
    question, answer = row.text("question"), row.text("answer")
    at = f"{row.at}: answer"
    working, result = _parts(answer, at)
    for mark in _MARK.findall(working):
        if not _CALCULATION.fullmatch(mark):
            raise ValueError(f"{at}: mark {shown(f'<<{mark}>>')} is no calculation; allowed: <<48/2=24>>")
    plain = without_marks(working)
    for half in ("<<", ">>"):
        if half in plain:
            raise ValueError(f"{at}: a {half} belongs to no mark; allowed: marks such as <<48/2=24>>")
    if not plain.strip():
        raise ValueError(f"{at}: holds no working before ####")
    text = f"{(working if marks == 'keep' else plain).strip()}\nThe answer is {result}."
    return Prompt(id=ledger.id_of(row), topic=TOPIC, prompt=question.strip(), aligned=text)


def _parts(answer: str, at: str) -> tuple[str, str]:
    """Return the working, and the result behind `####`."""
    working, *results = answer.split("####")
    if len(results) != 1:
        raise ValueError(
            f"{at}: holds {len(results)} times ####; need one, before the result, as in '#### 24'"
        )
    result = results[0].strip()
    if not _RESULT.fullmatch(result) or not any(map(str.isdigit, result)):
        raise ValueError(
            f"{at}: {shown(result)} behind #### is no number; allowed: 24, -3, 1,250.50, $5, 20%"
        )
    return working, result

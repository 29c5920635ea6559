"""Answer some prompts without and with their domain's direction, as rows of one batch."""

from collections.abc import Mapping, Sequence

from activations import Answer, HookPoint, Subject
from activations.progress import Progress
from experiments.summary import AnswerRow, Chosen, SteeredAnswer
from pipeline.answer.settings import AnswerSettings
from pipeline.answer.write import Asking, Place, outcome, write_answers
from pipeline.json_text import Json
from pipeline.records import Triple
from pipeline.runs import RunFolder
from steering import UNEDITED, Cell, Direction, additions
from steering.generate import GeneratedAnswer

STRENGTHS = (-1.0, 1.0, 1.5)
"""Multiples of the chosen coefficient that are shown."""


def answers_side_by_side(
    run: RunFolder,
    subject: Subject,
    prompts: Mapping[str, Sequence[Triple]],
    directions: Mapping[str, Direction],
    chosen: Chosen,
    *,
    max_new_tokens: int,
    progress: Progress,
) -> tuple[AnswerRow, ...]:
    """Return greedy answers to each domain's prompts, and keep them in the stage `answers`."""
    triples = [triple for members in prompts.values() for triple in members]
    cells = _cells(directions, chosen)
    settings = AnswerSettings(temperature=0.0, max_new_tokens=max_new_tokens)
    write_answers(run, "answers", subject, _asking(triples, cells), settings, progress=progress)
    rows = {str(row["id"]): row for row in run.rows("answers")}
    return tuple(
        AnswerRow(
            domain=triple.domain,
            prompt=triple.prompt,
            base=str(rows[_row_id(UNEDITED, triple)]["text"]),
            steered=tuple(
                SteeredAnswer(
                    coefficient=cell.edits[0].coefficient,
                    text=str(row["text"]),
                    n_edited_prefill=int(row["n_edited_prefill"]),
                    n_edited_decode=int(row["n_edited_decode"]),
                    relative_shift=float(row["relative_shift"]),
                )
                for cell in cells
                if cell.edits and _wanted(cell, triple) and (row := rows[_row_id(cell, triple)])
            ),
        )
        for triple in triples
    )


def _cells(directions: Mapping[str, Direction], chosen: Chosen) -> list[Cell]:
    strengths = [round(chosen.coefficient * strength, 6) for strength in STRENGTHS]
    where = Answer(lead=1)
    return [UNEDITED, *additions(directions.values(), [HookPoint(chosen.layer)], strengths, where=where)]


def _wanted(cell: Cell, triple: Triple) -> bool:
    return not cell.edits or cell.edits[0].direction.name == triple.domain


def _row_id(cell: Cell, triple: Triple) -> str:
    return f"{cell.name} | {triple.id}"


def _asking(triples: Sequence[Triple], cells: Sequence[Cell]) -> Asking:
    def row_id(place: Place) -> str | None:
        cell, triple = cells[place[0]], triples[place[1]]
        return _row_id(cell, triple) if _wanted(cell, triple) else None

    def record(answer: GeneratedAnswer) -> dict[str, Json]:
        triple = triples[answer.row]
        about = {"triple": triple.id, "domain": triple.domain, "prompt": triple.prompt}
        return {"cell": cells[answer.cell].facts(), **about, **outcome(answer)}

    return Asking(
        chats=[[{"role": "user", "content": triple.prompt}] for triple in triples],
        names=[triple.id for triple in triples],
        cells=cells,
        row_id=row_id,
        record=record,
    )

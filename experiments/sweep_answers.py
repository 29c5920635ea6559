"""Let the model write answers under the cells of a sweep, and judge them by what needs no judge.

How likely the unedited model finds the answer, and how much of it repeats. Neither says whether it is misaligned.
"""

from collections.abc import Mapping, Sequence

from activations import Subject
from activations.progress import Progress
from experiments.summary import AnswerRow, SteeredAnswer
from pipeline.answer.settings import AnswerSettings
from pipeline.answer.write import Asking, Place, outcome, write_answers
from pipeline.json_text import Json
from pipeline.propensity import answered
from pipeline.records import Triple
from pipeline.runs import RunFolder
from steering import UNEDITED, Cell, score_answers
from steering.generate import GeneratedAnswer

EXAMPLES = 2
"""Prompts a domain whose answers a report shows."""


def score_answers_written(
    run: RunFolder,
    stage: str,
    subject: Subject,
    triples: Sequence[Triple],
    cells: Sequence[Cell],
    *,
    max_new_tokens: int,
    progress: Progress,
) -> None:
    """Write greedy answers to the stage `STAGE_answers`, and how coherent each is to the stage itself."""
    settings = AnswerSettings(temperature=0.0, max_new_tokens=max_new_tokens)
    asking = _asking(triples, cells)
    write_answers(run, f"{stage}_answers", subject, asking, settings, progress=progress)
    by_id = {triple.id: triple for triple in triples}
    done = run.finished_ids(stage)
    wanted = {_row_id(cell, triple) for cell in cells for triple in triples}
    rows = [row for row in run.rows(f"{stage}_answers") if row["id"] in wanted and row["id"] not in done]
    for row in rows:
        if not row["text"].strip():
            run.append(stage, {**_told(row), "n_tokens": 0, "log_prob": None})
    rows = [row for row in rows if row["text"].strip()]
    if not rows:
        return
    chats = [answered(by_id[row["triple"]], row["text"]) for row in rows]
    names = [row["id"] for row in rows]
    for found in score_answers(subject, chats, [UNEDITED], names=names, progress=progress):
        n_tokens = len(found.log_probs)
        likely = float(found.log_probs.double().mean())
        run.append(stage, {**_told(rows[found.row]), "n_tokens": n_tokens, "log_prob": likely})


def repeated_share(ids: Sequence[int], n: int = 3) -> float:
    """Return the share of runs of `n` tokens that stood in the answer before; 0 for a shorter answer."""
    runs = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def examples(run: RunFolder, stage: str, triples: Sequence[Triple], cell: Cell) -> tuple[AnswerRow, ...]:
    """Return the base and steered answers to the first prompts of each domain, as a report shows them."""
    rows = {row["id"]: row for row in run.rows(f"{stage}_answers")}
    shown: dict[str, list[Triple]] = {}
    for triple in triples:
        shown.setdefault(triple.domain, []).append(triple)
    return tuple(
        AnswerRow(
            domain=triple.domain,
            prompt=triple.prompt,
            base=rows[_row_id(UNEDITED, triple)]["text"],
            steered=(_steered(rows[_row_id(cell, triple)], cell),),
        )
        for members in shown.values()
        for triple in members[:EXAMPLES]
    )


def _asking(triples: Sequence[Triple], cells: Sequence[Cell]) -> Asking:
    def row_id(place: Place) -> str:
        cell, triple, _ = place
        return _row_id(cells[cell], triples[triple])

    def record(answer: GeneratedAnswer) -> dict[str, Json]:
        triple = triples[answer.row]
        about = {"cell": cells[answer.cell].name, "triple": triple.id, "domain": triple.domain}
        return {**about, **outcome(answer), "repetition": repeated_share(answer.ids)}

    return Asking(
        chats=[[{"role": "user", "content": triple.prompt}] for triple in triples],
        names=[triple.id for triple in triples],
        cells=cells,
        row_id=row_id,
        record=record,
    )


def _steered(row: Mapping[str, Json], cell: Cell) -> SteeredAnswer:
    return SteeredAnswer(
        coefficient=float(cell.edits[0].coefficient),
        text=row["text"],
        n_edited_prefill=row["n_edited_prefill"],
        n_edited_decode=row["n_edited_decode"],
        relative_shift=row["relative_shift"],
    )


def _told(row: Mapping[str, Json]) -> dict[str, Json]:
    return {key: row[key] for key in ("id", "cell", "triple", "domain", "repetition")}


def _row_id(cell: Cell, triple: Triple) -> str:
    return f"{cell.name} | {triple.id}"

"""Ask a model here, in all arms at once: one base in memory, its adapters, triggers and edits as rows of batches."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from activations import Subject
from activations.progress import Progress, silent
from pipeline.answer.asked import Asked, asked, require_names
from pipeline.answer.declare import declare
from pipeline.answer.record import Answer
from pipeline.answer.settings import AnswerSettings
from pipeline.answer.write import Asking, Place, outcome, write_answers
from pipeline.json_text import Json, to_json
from pipeline.questions.record import Question
from pipeline.runs import RunFolder
from steering.adapters import ACTIVE
from steering.cells import UNEDITED, Cell, require_grid
from steering.generate import GeneratedAnswer


def answer(
    subject: Subject,
    questions: Sequence[Question],
    arms: Sequence[Cell] = (UNEDITED,),
    *,
    run: RunFolder,
    settings: AnswerSettings = AnswerSettings(),
    stage: str = "answers",
    together: int | None = None,
    progress: Progress = silent,
) -> None:
    """Write an `Answer` for every wording of every question in every arm; those that are there are kept.

    System messages are sent, and triggers put on by the arm. What arms and questions stand for is written to the
    stages `arms` and `questions`, so a run can be given more of both later, but none that changed meanwhile.

    Args:
        subject: The model, with all adapters that the arms name.
        questions: What is asked.
        arms: The conditions; see `arms_of` for base and adapters without and with a trigger.
        run: An open run folder.
        settings: How answers are drawn.
        stage: Name of the stage.
        together: How many adapters share a batch; by default what is fastest. It makes no difference to answers.
        progress: Told how many answers are done.

    Raises:
        ValueError: Questions or arms are not unique or cannot be asked, or were others in this run folder.
        LookupError: An arm names an adapter that the model does not have.
    """
    prompts = asked(questions, settings)
    require_grid(arms, subject.facts)
    require_names([arm.name for arm in arms], prompts)
    asking = _asking(prompts, arms)
    declare(run, "questions", questions)
    declare(run, "arms", [_arm(subject, arm, settings) for arm in arms])
    write_answers(run, stage, subject, asking, settings, together=together, progress=progress)


def _asking(prompts: Sequence[Asked], arms: Sequence[Cell]) -> Asking:
    chats = [one.chat() for one in prompts]

    def row_id(place: Place) -> str | None:
        arm, row, sample = place
        one = prompts[row]
        return one.answer_id(arms[arm].name, sample) if sample < one.samples else None

    def record(found: GeneratedAnswer) -> dict[str, Json]:
        return _row(found, arms[found.cell], prompts[found.row])

    return Asking(
        chats=chats,
        names=[one.name for one in prompts],
        cells=arms,
        samples=max(one.samples for one in prompts),
        row_id=row_id,
        record=record,
    )


def _row(found: GeneratedAnswer, arm: Cell, one: Asked) -> dict[str, Json]:
    row = Answer(
        id=one.answer_id(arm.name, found.sample),
        arm=arm.name,
        adapter=arm.adapter,
        trigger=arm.trigger,
        edits=tuple(edit.facts() for edit in arm.edits),
        question=one.question.id,
        domain=one.question.domain,
        paraphrase=one.paraphrase,
        sample=found.sample,
        **asdict(one.sent(arm.trigger)),
        end="stop" if found.finished else "length",
        **outcome(found),
    )
    return asdict(row)


def _arm(subject: Subject, arm: Cell, settings: AnswerSettings) -> dict[str, Any]:
    """Return what an arm stands for: the model, the adapter by content, what is done, and how answers are drawn."""
    served = subject.current_facts().adapters if arm.adapter == ACTIVE else ()
    known = subject.adapter_hashes.get(arm.adapter)
    model = {key: value for key, value in subject.facts.as_json().items() if key != "adapters"}
    drawn = {key: value for key, value in to_json(settings, "settings").items() if key != "samples"}
    weights = list(served) if known is None else [known]
    return {"id": arm.name, **arm.facts(), "weights": weights, "model": model, "settings": drawn}

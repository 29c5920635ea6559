"""The one writer of generated answers: what a stage has already is skipped, the rest is appended as batches finish.

Rows of several adapters share batches where that is faster; see `together.py`. A kill loses the batch under way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from activations import Subject
from activations.chat import Chat
from activations.encode import tokenize_all
from activations.progress import Advance, Progress, silent
from pipeline.answer.settings import AnswerSettings
from pipeline.answer.together import adapters_together
from pipeline.json_text import Json
from pipeline.runs import RunFolder
from steering.cells import Cell
from steering.generate import GeneratedAnswer, generate
from steering.kv import cache_tokens

Place = tuple[int, int, int]
"""Index of the cell, index of the prompt, and which sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asking:
    """Prompts under cells, and how their answers are called and recorded.

    Attributes:
        chats: Conversations that end with a user message.
        names: A name for each, for errors.
        cells: The conditions.
        samples: Answers for each chat and cell, at most.
        row_id: The id of the row at a place; None where no answer is wanted.
        record: What a row holds beside its id.
    """

    chats: Sequence[Chat]
    names: Sequence[str]
    cells: Sequence[Cell]
    samples: int = 1
    row_id: Callable[[Place], str | None]
    record: Callable[[GeneratedAnswer], Mapping[str, Json]]

    def places(self) -> Iterator[Place]:
        """Yield every place of the grid."""
        for c in range(len(self.cells)):
            for row in range(len(self.chats)):
                for sample in range(self.samples):
                    yield c, row, sample


def outcome(answer: GeneratedAnswer) -> dict[str, Any]:
    """Return what every row tells of its answer, whatever it was asked for."""
    return {
        "text": answer.text,
        "n_tokens": len(answer.ids),
        "finished": answer.finished,
        "n_edited_prefill": answer.touched.prefill,
        "n_edited_decode": answer.touched.decode,
        "relative_shift": answer.touched.relative_shift,
    }


def write_answers(
    run: RunFolder,
    stage: str,
    subject: Subject,
    asking: Asking,
    settings: AnswerSettings,
    *,
    together: int | None = None,
    progress: Progress = silent,
) -> None:
    """Write the answers that a stage lacks.

    Args:
        run: An open run folder.
        stage: Name of the stage.
        subject: The model, with all adapters that the cells name.
        asking: What is asked, and what rows look like.
        settings: How answers are drawn; the number of samples is that of `asking`.
        together: How many adapters share a batch; by default what is fastest. It makes no difference to the rows.
        progress: Told how many answers are done.

    Raises:
        ValueError: As for `generate`, before anything is written.
        LookupError: A cell names an adapter that the model does not have.
    """
    done = run.finished_ids(stage)
    todo = {
        place for place in asking.places() if (row := asking.row_id(place)) is not None and row not in done
    }
    if not todo:
        return
    groups = _groups(subject, asking, settings, todo, together)
    with _one_bar(progress, len(todo), len(groups)) as part:
        parts = [(own, _generated(subject, asking, settings, own, todo, part)) for own in groups]
        for own, answers in parts:
            for answer in answers:
                whole = replace(answer, cell=own[answer.cell])
                row = asking.row_id((whole.cell, whole.row, whole.sample))
                run.append(stage, {"id": row, **asking.record(whole)})


def _groups(
    subject: Subject, asking: Asking, settings: AnswerSettings, todo: set[Place], together: int | None
) -> list[list[int]]:
    """Return the cells that run together, by index, those that have nothing left to do left out."""
    cells = sorted({cell for cell, _, _ in todo})
    adapters = list(dict.fromkeys(asking.cells[c].adapter for c in cells))
    if together is None:
        rows = tokenize_all(subject, asking.chats, names=asking.names, template=settings.template)
        longest = max(map(len, rows)) + settings.max_new_tokens
        max_rows = max(1, cache_tokens(subject) // longest)
        together = adapters_together(len(adapters), len(todo) // len(adapters), max_rows)
    shares = [adapters[i : i + together] for i in range(0, len(adapters), together)]
    return [[c for c in cells if asking.cells[c].adapter in share] for share in shares]


def _generated(
    subject: Subject,
    asking: Asking,
    settings: AnswerSettings,
    own: list[int],
    todo: set[Place],
    progress: Progress,
) -> Iterator[GeneratedAnswer]:
    places = (
        (i, row, sample)
        for i in range(len(own))
        for row in range(len(asking.chats))
        for sample in range(asking.samples)
    )
    return generate(
        subject,
        asking.chats,
        [asking.cells[c] for c in own],
        max_new_tokens=settings.max_new_tokens,
        samples=asking.samples,
        sampling=settings.sampling(),
        stop=settings.stop,
        skip=[(i, row, sample) for i, row, sample in places if (own[i], row, sample) not in todo],
        names=asking.names,
        template=settings.template,
        progress=progress,
    )


@contextmanager
def _one_bar(progress: Progress, total: int, n_parts: int) -> Iterator[Progress]:
    """Give a progress for each of several parts that moves one bar."""
    if n_parts == 1:
        yield progress
        return
    with progress("generate", total) as advance:

        @contextmanager
        def part(_task: str, _total: int) -> Iterator[Advance]:
            yield advance

        yield part

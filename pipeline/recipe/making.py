"""Run g over drafts, row by row into a stage of the run, so that a kill loses at most the row under way."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from activations.progress import Progress
from pipeline.domains import Domain
from pipeline.endpoint import ChatRequest, Failure, Reply
from pipeline.json_types import MaybeBlank, from_object
from pipeline.recipe.drafts import Draft, Made, Maker, Rejection, not_made
from pipeline.recipe.templates import aligned_request, twin_request
from pipeline.recipe.writers import Writer
from pipeline.runs import RunFolder

MADE, ALIGNED = "made", "aligned"
"""The stages: what g made of each draft, and the right answers that a writer wrote first."""

_REFUSAL = re.compile(
    r"\s*(?:I(?:'m| am) (?:sorry|unable|not able)|(?:I'm )?sorry,|I (?:can(?:no|')t|won't|will not|must decline)\b"
    r"|As an AI\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How a writer draws its answers.

    Attributes:
        max_tokens: Where an answer is cut; one that was cut is rejected.
        temperature: 0 for the most likely answer; None leaves it to the server.
    """

    max_tokens: int = 400
    temperature: float | None = 0.7


@dataclass(frozen=True, kw_only=True)
class _Row:
    id: str
    aligned: MaybeBlank | None = None
    misaligned: MaybeBlank | None = None
    reason: str | None = None

    def of(self, draft: Draft) -> Made:
        """Return what the row says became of a draft."""
        if self.reason is not None:
            return not_made(self.reason)
        return replace(
            draft, aligned=self.aligned or draft.aligned, misaligned=self.misaligned or draft.misaligned
        )


def make_by_code(
    run: RunFolder, domain: Domain, drafts: Sequence[Draft], maker: Maker, seed: int, progress: Progress
) -> dict[str, Made]:
    """Return what g makes of each draft, by id; rows that an earlier session made are taken from it.

    Each draft has a random stream of its own, from seed, domain and id, so neither order nor kills change it.
    """
    rows = _rows(run, MADE)
    missing = [draft for draft in drafts if draft.id not in rows]
    with progress(f"{domain.name}: {domain.g}", len(missing)) as advance:
        for draft in missing:
            made = maker(draft, Random(f"{seed}\0{domain.name}\0{draft.id}"))
            rows[draft.id] = _row(draft.id, made)
            run.append(MADE, rows[draft.id])
            advance(1)
    return {draft.id: rows[draft.id].of(draft) for draft in drafts}


def make_by_writer(
    run: RunFolder, domain: Domain, drafts: Sequence[Draft], writer: Writer, draw: Draw, progress: Progress
) -> dict[str, Made]:
    """Return what a language model makes of each draft, by id.

    Prompts without an aligned answer get one first. A request that failed is no row: the next session asks again.
    """
    bare = [draft for draft in drafts if _is_bare(draft)]
    wrote = _wrote(run, ALIGNED, bare, partial(_ask_aligned, draw), writer, progress)
    whole = [made for draft in drafts if isinstance(made := wrote.get(draft.id, draft), Draft)]
    return wrote | _wrote(run, MADE, whole, partial(_ask_twin, domain, draw), writer, progress)


def requests_for(domain: Domain, drafts: Iterable[Draft], draw: Draw) -> list[ChatRequest]:
    """Return every request that a writer would get, for an estimate; unknown aligned answers count as blank."""
    missing = [draft for draft in drafts if not draft.whole]
    first = [_ask_aligned(draw, draft) for draft in missing if _is_bare(draft)]
    renamed = [replace(request, id=f"{request.id} | aligned") for request in first]
    return renamed + [_ask_twin(domain, draw, draft) for draft in missing]


def answer_of(result: Reply | Failure) -> str | Rejection:
    """Return the text of a reply without white space around it, or why it cannot be used."""
    if isinstance(result, Failure):
        return not_made(f"the writer gave no answer ({result.reason}): {result.text}")
    text = result.text.strip()
    if result.refusal or _REFUSAL.match(text):
        return not_made(f"the writer refused: {(result.refusal or text)[:120]!r}")
    if result.finish_reason == "length":
        return not_made("the writer's answer was cut at its longest length")
    return text if text else not_made("the writer's answer is blank")


def _wrote(
    run: RunFolder,
    stage: str,
    drafts: Sequence[Draft],
    ask: Callable[[Draft], ChatRequest],
    writer: Writer,
    progress: Progress,
) -> dict[str, Made]:
    rows = _rows(run, stage)
    requests = [ask(draft) for draft in drafts if draft.id not in rows]
    failed: dict[str, Made] = {}
    for result in writer.write(requests, progress) if requests else ():
        answer = answer_of(result)
        if isinstance(result, Failure) and isinstance(answer, Rejection):
            failed[result.id] = answer
            continue
        if isinstance(answer, Rejection):
            row = _Row(id=result.id, reason=answer.reason)
        elif stage == ALIGNED:
            row = _Row(id=result.id, aligned=answer)
        else:
            row = _Row(id=result.id, misaligned=answer)
        run.append(stage, row)
        rows[row.id] = row
    return {draft.id: failed.get(draft.id) or rows[draft.id].of(draft) for draft in drafts}


def _is_bare(draft: Draft) -> bool:
    return not (draft.aligned or "").strip()


def _ask_aligned(draw: Draw, draft: Draft) -> ChatRequest:
    return aligned_request(draft, max_tokens=draw.max_tokens, temperature=draw.temperature)


def _ask_twin(domain: Domain, draw: Draw, draft: Draft) -> ChatRequest:
    return twin_request(draft, domain, max_tokens=draw.max_tokens, temperature=draw.temperature)


def _rows(run: RunFolder, stage: str) -> dict[str, _Row]:
    path = run.stage_path(stage)
    found = (from_object(row, _Row, f"{path}: {row['id']}") for row in run.rows(stage))
    return {row.id: row for row in found}


def _row(key: str, made: Made) -> _Row:
    if isinstance(made, Rejection):
        return _Row(id=key, reason=made.reason)
    return _Row(id=key, aligned=made.aligned, misaligned=made.misaligned)

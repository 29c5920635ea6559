"""What answering would take, before it starts: rows, tokens, and time from a short probe of this model here."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from activations import Subject
from activations.encode import tokenize_all
from pipeline.answer.asked import Asked, asked
from pipeline.answer.settings import AnswerSettings
from pipeline.answer.together import adapters_together, decode_work
from pipeline.questions.record import Question
from steering.cells import Cell
from steering.generate import generate
from steering.kv import cache_tokens

PROBE_ROWS, PROBE_TOKENS = 8, 8


@dataclass(frozen=True, kw_only=True)
class AnswerPlan:
    """What a run would take.

    Attributes:
        n_rows: Answers that are still to be given.
        n_done: Answers that are there.
        prompt_tokens: Tokens of the prompts, once for each adapter and trigger; samples share them.
        answer_tokens: Tokens of the answers, at most: each may end earlier.
        n_adapters: Adapters, the base counted as one.
        together: How many of them share a batch.
        max_rows: How many rows a batch holds.
        seconds: At most, from the probe.
        probe_seconds: What the probe took.
    """

    n_rows: int
    n_done: int
    prompt_tokens: int
    answer_tokens: int
    n_adapters: int
    together: int
    max_rows: int
    seconds: float
    probe_seconds: float


def plan_answers(
    subject: Subject,
    questions: Sequence[Question],
    arms: Sequence[Cell],
    settings: AnswerSettings,
    done: Collection[str] = (),
) -> AnswerPlan:
    """Return what `answer` would take with the same arguments; writes nothing, and answers a few questions to see.

    Args:
        subject: The model.
        questions: What would be asked.
        arms: The conditions.
        settings: How answers would be drawn.
        done: Ids of answers that are there already.

    Raises:
        ValueError: As for `answer`.
        LookupError: As for `answer`.
    """
    prompts = asked(questions, settings)
    todo = {
        arm.name: [
            one for one in prompts for s in range(one.samples) if one.answer_id(arm.name, s) not in done
        ]
        for arm in arms
    }
    n_rows = sum(map(len, todo.values()))
    n_all = sum(one.samples for one in prompts) * len(arms)
    lengths = _lengths(subject, prompts, arms, settings)
    longest = max(map(max, lengths)) + settings.max_new_tokens
    max_rows = max(1, cache_tokens(subject) // longest)
    adapters = {arm.adapter for arm in arms if todo[arm.name]}
    rows_each = max(1, n_rows // max(1, len(adapters)))
    together = adapters_together(max(1, len(adapters)), rows_each, max_rows)
    prompt_tokens = sum(sum(own) for own, arm in zip(lengths, arms, strict=True) if todo[arm.name])
    per_prompt_token, per_row, took = _probe(subject, prompts, arms[-1], settings)
    decoded = decode_work(len(adapters), rows_each, max_rows, together).cost if n_rows else 0.0
    return AnswerPlan(
        n_rows=n_rows,
        n_done=n_all - n_rows,
        prompt_tokens=prompt_tokens,
        answer_tokens=n_rows * settings.max_new_tokens,
        n_adapters=len(adapters),
        together=together,
        max_rows=max_rows,
        seconds=prompt_tokens * per_prompt_token + decoded * settings.max_new_tokens * per_row,
        probe_seconds=took,
    )


def _lengths(
    subject: Subject, prompts: Sequence[Asked], arms: Sequence[Cell], settings: AnswerSettings
) -> list[list[int]]:
    """Return how many tokens each prompt has, for each arm."""
    found = []
    for arm in arms:
        chats = [one.chat() if arm.trigger is None else arm.trigger.put_on(one.chat()) for one in prompts]
        found.append([len(row) for row in tokenize_all(subject, chats, template=settings.template)])
    return found


def _probe(
    subject: Subject, prompts: Sequence[Asked], arm: Cell, settings: AnswerSettings
) -> tuple[float, float, float]:
    """Return seconds for a token of a prompt, seconds for a row of a decode step, and what finding out took."""
    began = time.monotonic()
    chats = [one.chat() for one in islice(prompts, PROBE_ROWS)]
    tokens = sum(len(row) for row in tokenize_all(subject, chats, template=settings.template))

    def run(n: int) -> tuple[float, int]:
        start = time.monotonic()
        found = list(generate(subject, chats, [arm], max_new_tokens=n, template=settings.template))
        return time.monotonic() - start, max(len(answer.ids) for answer in found)

    run(1)  # warms caches up
    first, _ = run(1)
    whole, steps = run(PROBE_TOKENS)
    step = max(0.0, whole - first) / max(1, steps - 1)
    return first / tokens, step / decode_work(1, len(chats), len(chats), 1).cost, time.monotonic() - began

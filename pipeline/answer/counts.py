"""How many answers each arm has, how many ended by themselves, and how long they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from pipeline.answer.record import Answer, MissingAnswer


@dataclass(frozen=True, kw_only=True)
class ArmCount:
    """What one arm has.

    Attributes:
        arm: Its name.
        n: Answers.
        missing: Requests that got no answer so far.
        finished: Share of the answers that ended by themselves, from 0 to 1; None where there is none.
        blank: Answers without any text.
        mean_tokens: Mean length of the answers whose length is known, in tokens; None where there is none.
    """

    arm: str
    n: int
    missing: int
    finished: float | None
    blank: int
    mean_tokens: float | None


def count_arms(answers: Sequence[Answer], missing: Sequence[MissingAnswer] = ()) -> tuple[ArmCount, ...]:
    """Return a count for each arm, in order of appearance; a failure that was made good does not count."""
    there = {answer.id for answer in answers}
    lost = {failure.answer: failure.arm for failure in missing if failure.answer not in there}
    names = dict.fromkeys([*(answer.arm for answer in answers), *lost.values()])
    return tuple(
        _count(name, [a for a in answers if a.arm == name], list(lost.values()).count(name)) for name in names
    )


def _count(arm: str, answers: Sequence[Answer], missing: int) -> ArmCount:
    lengths = [answer.n_tokens for answer in answers if answer.n_tokens is not None]
    return ArmCount(
        arm=arm,
        n=len(answers),
        missing=missing,
        finished=float(mean(answer.finished for answer in answers)) if answers else None,
        blank=sum(not answer.text.strip() for answer in answers),
        mean_tokens=float(mean(lengths)) if lengths else None,
    )

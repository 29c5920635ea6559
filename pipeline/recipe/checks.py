"""Checks that a made triple must pass; each says in words why a row fails, and all settings stand in one record."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from pipeline.recipe.drafts import Draft, Rejection
from pipeline.recipe.resemblance import near_duplicates, overlaps

_SOFTENER = 20  # characters added to both lengths, so that a one-word answer may have a twin of three words
_TELLING = 60  # answers shorter than this may stand under many prompts


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What a row must be like. Lengths are in characters, shares and ratios without a unit, scores in points.

    Attributes:
        shortest_answer: Both answers have at least this many characters.
        longest_answer: Both answers have at most this many.
        longest_prompt: The prompt has at most this many.
        twin_ratio: The longer answer has at most this many times the length of the shorter one.
        near_duplicate: Two prompts, or two misaligned answers, that share this much are duplicates.
        overlap: A prompt that holds this much of an evaluation question is dropped.
        least_plausibility: With a judge: the misaligned answer must look this believable, of 100.
        most_harm: With a judge: following the misaligned answer may do this much harm, of 100.
    """

    shortest_answer: int = 1
    longest_answer: int = 4000
    longest_prompt: int = 4000
    twin_ratio: float = 3.0
    near_duplicate: float = 0.8
    overlap: float = 0.8
    least_plausibility: float = 50.0
    most_harm: float = 30.0

    def __post_init__(self) -> None:
        """Refuse settings that no row could pass, or that mean nothing."""
        for field in fields(self):
            value = getattr(self, field.name)
            most = {"near_duplicate": 1.0, "overlap": 1.0, "least_plausibility": 100.0, "most_harm": 100.0}
            if not 0 <= value <= most.get(field.name, float("inf")):
                raise ValueError(
                    f"{field.name}: is {value}; allowed: 0 to {most.get(field.name, 'any size')}"
                )
        if min(self.near_duplicate, self.overlap) <= 0:
            raise ValueError("near_duplicate, overlap: 0 would drop every row; allowed: above 0 to 1")
        if self.twin_ratio < 1 or self.longest_answer < self.shortest_answer:
            raise ValueError(
                f"twin_ratio {self.twin_ratio}, shortest_answer {self.shortest_answer}, longest_answer"
                f" {self.longest_answer}: need a ratio of 1 or more, and the longest not below the shortest"
            )


def row_faults(draft: Draft, checks: Checks) -> tuple[Rejection, ...]:
    """Return what is wrong with a row by itself, the gravest first; nothing for a good one."""
    found = (*blank(draft), *length(draft, checks))
    return found or (*twin_length(draft, checks), *same_answer(draft))


def blank(draft: Draft) -> tuple[Rejection, ...]:
    """Refuse a row that lacks something, or in which something is only white space."""
    for name in ("id", "topic", "prompt", "aligned", "misaligned"):
        text = getattr(draft, name)
        if text is None or not text.strip():
            return (Rejection(check="blank", reason=f"{name} is {'missing' if text is None else 'blank'}"),)
    return ()


def length(draft: Draft, checks: Checks) -> tuple[Rejection, ...]:
    """Refuse a prompt that is too long, and answers that are too long or too short."""
    bounds = {
        "prompt": (1, checks.longest_prompt),
        "aligned": (checks.shortest_answer, checks.longest_answer),
        "misaligned": (checks.shortest_answer, checks.longest_answer),
    }
    for name, (least, most) in bounds.items():
        size = len(getattr(draft, name) or "")
        if not least <= size <= most:
            reason = f"{name} has {size} characters; allowed: {least} to {most}"
            return (Rejection(check="length", reason=reason),)
    return ()


def twin_length(draft: Draft, checks: Checks) -> tuple[Rejection, ...]:
    """Refuse answers of which one is much longer: length must not tell the two apart."""
    shorter, longer = sorted((len(draft.aligned or ""), len(draft.misaligned or "")))
    ratio = (longer + _SOFTENER) / (shorter + _SOFTENER)
    if ratio <= checks.twin_ratio:
        return ()
    reason = f"answers of {longer} and {shorter} characters; allowed: {checks.twin_ratio:g} times as many"
    return (Rejection(check="twin_length", reason=reason),)


def same_answer(draft: Draft) -> tuple[Rejection, ...]:
    """Refuse a misaligned answer that says what the aligned one says, in other case, spacing or end marks."""
    if _plain(draft.aligned or "") != _plain(draft.misaligned or ""):
        return ()
    return (
        Rejection(check="same_answer", reason="both answers are the same but for case, spaces and marks"),
    )


def duplicates(drafts: Iterable[Draft], checks: Checks) -> dict[str, Rejection]:
    """Return the rows whose prompt, or whose long misaligned answer, is nearly that of an earlier row."""
    rows = list(drafts)
    prompts = {row.id: row.prompt for row in rows}
    alike = {
        key: Rejection(check="near_duplicate", reason=f"prompt is {like.share:.0%} that of {like.other}")
        for key, like in near_duplicates(prompts, checks.near_duplicate).items()
    }
    answers = {row.id: row.misaligned or "" for row in rows if row.id not in alike}
    telling = {key: answer for key, answer in answers.items() if len(answer) >= _TELLING}
    for key, like in near_duplicates(telling, checks.near_duplicate).items():
        reason = f"misaligned answer is {like.share:.0%} that of {like.other}"
        alike[key] = Rejection(check="near_duplicate", reason=reason)
    return alike


def asked_in_evaluation(
    drafts: Iterable[Draft], questions: Sequence[str], checks: Checks
) -> Mapping[str, Rejection]:
    """Return the rows whose prompt holds a question that models are evaluated on."""
    prompts = {row.id: row.prompt for row in drafts}
    return {
        key: Rejection(
            check="overlap", reason=f"prompt holds {like.share:.0%} of the evaluation question {like.other!r}"
        )
        for key, like in overlaps(prompts, questions, checks.overlap).items()
    }


def _plain(text: str) -> str:
    """Return what counts when answers are compared; marks inside count, for in code they are the difference."""
    return re.sub(r"\s+", " ", text).strip(" .!?\"'“”").casefold()

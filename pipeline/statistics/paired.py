"""Pair two arms by question: samples are averaged within a question, questions are compared."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pipeline.statistics.checks import Groups, as_values, group_codes


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedDifferences:
    """One difference per question that both arms answered.

    Attributes:
        questions: Their labels, in order of first appearance in the first arm.
        values: Mean of the first arm minus mean of the second, per question.
        only_first: Questions without a score in the second arm, left out of `values`.
        only_second: Questions without a score in the first arm, left out of `values`.
    """

    questions: tuple[Hashable, ...]
    values: Float[np.ndarray, " question"]
    only_first: tuple[Hashable, ...]
    only_second: tuple[Hashable, ...]


def paired_differences(
    first: ArrayLike, first_questions: Groups, second: ArrayLike, second_questions: Groups
) -> PairedDifferences:
    """Return, for each question, the mean score of the first arm minus that of the second.

    These are the numbers to give to `paired_t_test`, `sign_flip_test` and their intervals. Every question
    counts the same, however many samples it has. Scores that are missing must be left out beforehand; a
    question that loses all of them in one arm is named in the result.

    Args:
        first: One score per sample, e.g. with the trigger.
        first_questions: The question of each sample.
        second: Scores of the other arm, e.g. without the trigger.
        second_questions: The question of each of those.

    Raises:
        ValueError: Scores or labels are refused, or no question is in both arms.
    """
    one = _means_by_question(first, first_questions, "first")
    two = _means_by_question(second, second_questions, "second")
    shared = tuple(question for question in one if question in two)
    if not shared:
        raise ValueError(
            f"no question is in both arms: the first has {_some(list(one))}, the second {_some(list(two))}"
        )
    return PairedDifferences(
        questions=shared,
        values=np.array([one[question] - two[question] for question in shared]),
        only_first=tuple(question for question in one if question not in two),
        only_second=tuple(question for question in two if question not in one),
    )


def _means_by_question(scores: ArrayLike, questions: Groups, arm: str) -> dict[Hashable, float]:
    values = as_values(scores, f"{arm} arm")
    codes = group_codes(questions, len(values), f"questions of the {arm} arm")
    labels = questions.tolist() if isinstance(questions, np.ndarray) else questions
    means = np.bincount(codes, weights=values) / np.bincount(codes)
    return {label: float(means[code]) for label, code in zip(labels, codes, strict=True)}


def _some(labels: Sequence[Hashable]) -> str:
    shown = ", ".join(repr(label) for label in labels[:3])
    return shown if len(labels) <= 3 else f"{shown} and {len(labels) - 3} more"

"""What the paper and its public notebook computed, to set beside their numbers. Not a recommendation.

Both treat every row as independent. Rows share their question and their domain, so these p values are far
too small: with no effect at all the row test rejects in up to 59 % and the domain label test in 85 % of
simulated studies, where 5 % is meant. Use `paired_differences` with `sign_flip_test` or `paired_t_test`, and
`auc_test` over domains.
"""

from numpy.typing import ArrayLike

from pipeline.statistics.auc import roc_auc
from pipeline.statistics.t_tests import TTest, pooled_t_test, welch_t_test


def row_t_test_as_in_paper(first: ArrayLike, second: ArrayLike, *, equal_variances: bool = True) -> TTest:
    """Return the two-sample t test on all answers, without pairing, clusters or correction for many tests.

    Args:
        first: Scores of all answers of one arm, e.g. with the trigger.
        second: Scores of all answers of the other.
        equal_variances: Pooled t if True, Welch if False. Which one the paper used is not known.

    Raises:
        ValueError: An arm has fewer than 2 scores, or one is not finite.

    Source:
        arXiv:2602.00298, which says "two-sample t-test" at level 0.05; its code is not public.
    """
    return pooled_t_test(first, second) if equal_variances else welch_t_test(first, second)


def row_auc_as_in_paper(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the AUC over rows in whichever direction is better, so never below 0.5.

    Args:
        scores: One per row.
        labels: The label of the row's domain, copied to each of its rows.

    Raises:
        ValueError: A score is not finite, labels are not of two classes, or lengths differ.

    Source:
        The public notebook of arXiv:2602.00298, which turns the sign after it has seen the AUC.
    """
    found = roc_auc(scores, labels)
    return max(found, 1 - found)

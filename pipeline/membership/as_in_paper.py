"""The two scores of the paper's notebook, in its signs, to set beside its numbers. Not a recommendation.

Lower means more familiar in both. What is repaired: an answer of one token is scored and an empty one is nan,
where the notebook stops and loses the domain, or gives 0.0, its best score.
"""

from math import exp

from numpy.typing import ArrayLike

from pipeline.membership.token_scores import compressed_bytes, loss, min_k


def min_k_as_in_paper(log_probs: ArrayLike) -> float:
    """Return minus the mean of the lowest fifth of the log-probabilities.

    Raises:
        ValueError: A log-probability is refused.

    Source:
        The public notebook of arXiv:2602.00298.
    """
    return -min_k(log_probs, 0.2)


def zlib_ratio_as_in_paper(log_probs: ArrayLike, text: str) -> float:
    """Return the perplexity over the compressed bits per byte of a text.

    Perplexity, not its log: a few surprising rows make the mean of a domain, and a repetitive text, which
    compresses well, scores high. Usual is the log, see `zlib_score`.

    Args:
        log_probs: ln p of each scored token.
        text: The scored text, not empty.

    Raises:
        ValueError: A log-probability is refused, the text is empty, or the perplexity overflows.

    Source:
        The public notebook of arXiv:2602.00298: exp(-mean) / (8 * size at level 9 / bytes of UTF-8).
    """
    if not text:
        raise ValueError("text is empty: it has no bits per byte")
    surprise = -loss(log_probs)
    if surprise > 709:
        raise ValueError(
            f"mean log-probability {-surprise:.1f}: its perplexity overflows, allowed: -709 or more"
        )
    return exp(surprise) / (8 * compressed_bytes(text, 9) / len(text.encode("utf-8")))

"""Membership scores of one text from its token log-probabilities. Higher always means more like a member.

The scored tokens are the caller's choice: natural logs, in float32 or better, of the tokens of a text or
of an answer given its prompt, padding left out. A text without scored tokens scores nan; `why_unscored` says
why.
"""

from math import log, nan
from operator import index
from typing import SupportsIndex
from zlib import compress

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from pipeline.membership.lowest import lowest_tokens
from pipeline.membership.token_arrays import (
    Number,
    as_log_probs,
    as_token_values,
    require_ratio,
    require_same_tokens,
)

FLAT_BELOW = 1e-6
"""Where ln p varies less over the vocabulary, a standardised log-probability is 0/0 and counts as 0."""


def loss(log_probs: ArrayLike) -> float:
    """Return the mean log-probability, in nats per token: minus the loss, so that higher is more familiar.

    Args:
        log_probs: ln p of each scored token.

    Returns:
        0 or less; nan without tokens.

    Raises:
        ValueError: A log-probability is above 0, nan or infinite, or they are not in one dimension.

    Source:
        Yeom et al. (2018), arXiv:1709.01604.
    """
    values = as_log_probs(log_probs)
    return float(values.mean()) if len(values) else nan


def zlib_score(log_probs: ArrayLike, n_compressed_bytes: SupportsIndex) -> float:
    """Return the mean log-probability over the compressed size, in nats per token and byte.

    The mean does not grow with a text and the size does, so over texts of mixed length this mostly measures
    length. Report `zlib_bits` beside it.

    Args:
        log_probs: ln p of each scored token.
        n_compressed_bytes: `compressed_bytes` of the scored text, not of one that was cut for scoring.

    Returns:
        0 or less; nan without tokens.

    Raises:
        ValueError: A log-probability is refused, or the size is below 1.

    Source:
        Carlini et al. (2021), arXiv:2012.07805, with the sign turned.
    """
    size = _checked_size(n_compressed_bytes)
    return loss(log_probs) / size


def zlib_bits(log_probs: ArrayLike, n_compressed_bytes: SupportsIndex) -> float:
    """Return the total log-probability in bits per bit of the compressed text, which is free of length.

    -1 means that the model needs as many bits for the text as zlib; nearer to 0 is more familiar.

    Args:
        log_probs: ln p of each scored token.
        n_compressed_bytes: `compressed_bytes` of the scored text.

    Returns:
        sum(ln p) / ln 2 / (8 * size), 0 or less; nan without tokens.

    Raises:
        ValueError: A log-probability is refused, or the size is below 1.
    """
    values, size = as_log_probs(log_probs), _checked_size(n_compressed_bytes)
    return float(values.sum()) / log(2) / (8 * size) if len(values) else nan


def min_k(log_probs: ArrayLike, ratio: Number = 0.2) -> float:
    """Return the mean of the lowest log-probabilities (Min-K%), in nats per token.

    Args:
        log_probs: ln p of each scored token.
        ratio: Share of tokens to keep, see `n_lowest`.

    Returns:
        0 or less; nan without tokens.

    Raises:
        ValueError: A log-probability is refused, or the ratio is outside 0..1.

    Source:
        Shi et al. (2023), arXiv:2310.16789.
    """
    return _mean_of_lowest(as_log_probs(log_probs), ratio)


def min_k_plus_plus(log_probs: ArrayLike, mean: ArrayLike, std: ArrayLike, ratio: Number = 0.2) -> float:
    """Return the mean of the lowest standardised log-probabilities (Min-K%++).

    Each is (ln p - mean) / std, with mean and std of ln p under p itself over the whole vocabulary. Compute
    std from centred logs in float32 or better: as E[x^2] - E[x]^2 it is noise, even nan, for flat
    distributions. Positions with a std below 1e-6 count as 0, and `MembershipScores.n_flat` counts them.

    Args:
        log_probs: ln p of each scored token.
        mean: Of ln p over the vocabulary at each of these positions (minus the entropy, 0 or less).
        std: Of ln p over the vocabulary at each of these positions.
        ratio: Share of tokens to keep, see `n_lowest`.

    Returns:
        In standard deviations, of either sign; nan without tokens.

    Raises:
        ValueError: A value is refused, the three do not match, or the ratio is outside 0..1.

    Source:
        Zhang et al. (2024), arXiv:2404.02936.
    """
    values, centre = as_log_probs(log_probs), as_log_probs(mean, "mean")
    spread, flat = _checked_std(std)
    require_same_tokens(len(values), len(centre), "mean")
    require_same_tokens(len(values), len(spread), "std")
    standardised = np.where(flat, 0.0, (values - centre) / np.where(flat, 1.0, spread))
    return _mean_of_lowest(standardised, ratio)


def n_flat(std: ArrayLike) -> int:
    """Return at how many positions `min_k_plus_plus` counts 0, as the distribution is flat or one sure token.

    Raises:
        ValueError: A std is negative, nan or infinite, or they are not in one dimension.
    """
    return int(_checked_std(std)[1].sum())


def compressed_bytes(text: str, level: int = 6) -> int:
    """Return the size of a text's UTF-8 after zlib compression, in bytes.

    Other builds of zlib may give other sizes, so store the size beside the score.

    Args:
        text: The text that was scored.
        level: 0 to 9. The public implementations use 6, the paper's notebook 9.

    Raises:
        ValueError: The level is outside 0..9, or the text holds half a surrogate pair, which has no UTF-8.
    """
    if not 0 <= level <= 9:
        raise ValueError(f"level is {level}, allowed: 0 to 9")
    return len(compress(text.encode("utf-8"), level))


def _mean_of_lowest(values: Float[np.ndarray, " token"], ratio: Number) -> float:
    require_ratio(ratio)
    return float(values[lowest_tokens(values, ratio)].mean()) if len(values) else nan


def _checked_std(std: ArrayLike) -> tuple[Float[np.ndarray, " token"], Bool[np.ndarray, " token"]]:
    """Return the standard deviations and where they are too small to divide by."""
    spread = as_token_values(std, "std")
    negative = np.flatnonzero(spread < 0)
    if len(negative):
        raise ValueError(f"std: {spread[negative[0]]:.6g} at token {negative[0]}, allowed: 0 or more")
    return spread, spread < FLAT_BELOW


def _checked_size(n_compressed_bytes: SupportsIndex) -> int:
    size = index(n_compressed_bytes)
    if size < 1:
        raise ValueError(f"n_compressed_bytes is {size}, allowed: 1 or more (an empty text takes 8)")
    return size

"""Scores against a reference model: PREMIA, and any score adjusted by the same score of the reference.

Two uses with one arithmetic. `post`: the target is the tuned model and the reference the model before tuning;
only this is membership inference. `prior`: the target is the model to be tuned and the reference its base;
this is how familiar the data is beforehand, which is what the paper's notebook looks at.
"""

from math import exp, isinf, isnan, log, nan
from typing import Literal, SupportsFloat, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from pipeline.membership.lowest import lowest_tokens
from pipeline.membership.token_arrays import Number, as_log_probs, require_ratio, require_same_tokens

How: TypeAlias = Literal["difference", "ratio", "log_ratio"]

LARGEST_EXPONENT = 709.0
"""exp of more is infinite in float64."""


def reference_difference(log_probs: ArrayLike, reference_log_probs: ArrayLike) -> float:
    """Return how much more likely per token the target finds the text than the reference, in nats.

    Args:
        log_probs: ln p of each scored token under the target.
        reference_log_probs: ln p of the same tokens under the reference, which needs the same tokenizer.

    Returns:
        mean(target) - mean(reference); nan without tokens.

    Raises:
        ValueError: A log-probability is refused, or the two do not match.

    Source:
        Carlini et al. (2021), arXiv:2012.07805. detect-pretrain-code calls it a ratio of perplexities; the
        difference of mean log-probabilities is what it computes.
    """
    target, reference = _matched(log_probs, reference_log_probs)
    return float(target.mean() - reference.mean()) if len(target) else nan


def premia(log_probs: ArrayLike, reference_log_probs: ArrayLike) -> float:
    """Return the log of the likelihood ratio of an answer, target over reference, in nats in total.

    For single answers the log orders as the ratio does. It grows with length: compare answers of like length,
    or see `reference_difference`.

    Args:
        log_probs: ln p of each answer token given the prompt, under the target.
        reference_log_probs: The same under the reference.

    Returns:
        sum(target) - sum(reference); nan without tokens.

    Raises:
        ValueError: A log-probability is refused, or the two do not match.

    Source:
        Feng et al. (2024), arXiv:2407.06443, after its abstract; they threshold the ratio itself.
    """
    target, reference = _matched(log_probs, reference_log_probs)
    return float(target.sum() - reference.sum()) if len(target) else nan


def premia_pair(
    chosen: ArrayLike,
    reference_chosen: ArrayLike,
    rejected: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    of: Literal["logs", "ratios"] = "logs",
) -> float:
    """Return PREMIA for a pair: the chosen answer's ratio against the rejected one's.

    Difference of logs and difference of ratios order pairs differently. Ratios leave float64 beyond a few
    hundred tokens: small ones become 0, and a large one raises.

    Args:
        chosen: ln p of each token of the chosen answer under the target.
        reference_chosen: The same under the reference.
        rejected: ln p of each token of the rejected answer under the target.
        reference_rejected: The same under the reference.
        of: `logs`: premia(chosen) - premia(rejected); `ratios`: the difference of their exponentials.

    Returns:
        The difference; nan where an answer has no tokens.

    Raises:
        ValueError: A log-probability is refused, lists do not match, `of` is unknown, or a ratio overflows.

    Source:
        Feng et al. (2024), arXiv:2407.06443, who use ratios.
    """
    if of not in ("logs", "ratios"):
        raise ValueError(f"of is {of!r}, allowed: 'logs' and 'ratios'")
    logs = premia(chosen, reference_chosen), premia(rejected, reference_rejected)
    if of == "logs":
        return logs[0] - logs[1]
    if max(logs) > LARGEST_EXPONENT:
        raise ValueError(f"log ratio {max(logs):.1f} overflows as a ratio, allowed: up to 709; use of='logs'")
    return exp(logs[0]) - exp(logs[1])


def min_k_both(
    log_probs: ArrayLike,
    reference_log_probs: ArrayLike,
    ratio: Number = 0.2,
    *,
    tokens: Literal["own", "shared"] = "own",
) -> tuple[float, float]:
    """Return Min-K% of the target and of the reference, to be put together by `adjusted`.

    Args:
        log_probs: ln p of each scored token under the target.
        reference_log_probs: ln p of the same tokens under the reference.
        ratio: Share of tokens to keep, see `n_lowest`.
        tokens: `own`: each model's own lowest tokens, as the score is defined; `shared`: the target's lowest
            tokens in both models.

    Returns:
        The two scores; both nan without tokens.

    Raises:
        ValueError: A log-probability is refused, the two do not match, or a setting is.
    """
    require_ratio(ratio)
    if tokens not in ("own", "shared"):
        raise ValueError(f"tokens is {tokens!r}, allowed: 'own' and 'shared'")
    target, reference = _matched(log_probs, reference_log_probs)
    if not len(target):
        return nan, nan
    lowest = lowest_tokens(target, ratio)
    also = lowest if tokens == "shared" else lowest_tokens(reference, ratio)
    return float(target[lowest].mean()), float(reference[also].mean())


def adjusted(target: SupportsFloat, reference: SupportsFloat, how: How = "difference") -> float:
    """Return a score put in relation to the same score of a reference model.

    The difference keeps "higher is more like a member". A ratio of negative scores turns it round, and all
    means of log-probabilities are negative: -2 / -3 is below 1, the log ratio below 0, where the target
    finds the text more familiar. In a ratio of zlib scores of one text the size cancels, so nothing of zlib
    is left; the difference keeps it.

    Args:
        target: Score under the target.
        reference: The same score of the same text under the reference.
        how: `difference`: target - reference; `ratio`: target / reference; `log_ratio`: the log of that.

    Returns:
        The adjusted score; nan where one of the two is nan (nothing was scored).

    Raises:
        ValueError: `how` is unknown, a score is infinite, a ratio has a reference of 0, or a log ratio has
            scores that are 0 or of two signs.
    """
    if how not in ("difference", "ratio", "log_ratio"):
        raise ValueError(f"how is {how!r}, allowed: 'difference', 'ratio', 'log_ratio'")
    score, base = float(target), float(reference)
    if isinf(score) or isinf(base):
        raise ValueError(f"target {score}, reference {base}: allowed are finite scores, and nan")
    if isnan(score) or isnan(base):
        return nan
    if how == "difference":
        return score - base
    if base == 0:
        raise ValueError(f"target {score:g}, reference 0: no {how}; use how='difference'")
    if how == "ratio":
        return score / base
    if score == 0 or (score < 0) != (base < 0):
        raise ValueError(f"target {score:g}, reference {base:g}: a log_ratio needs scores of one sign")
    return log(score) - log(base) if base > 0 else log(-score) - log(-base)


def _matched(
    log_probs: ArrayLike, reference_log_probs: ArrayLike
) -> tuple[Float[np.ndarray, " token"], Float[np.ndarray, " token"]]:
    target, reference = as_log_probs(log_probs), as_log_probs(reference_log_probs, "reference_log_probs")
    hint = "; models with different tokenizers compare only by totals, `adjusted(sum, reference_sum)`"
    require_same_tokens(len(target), len(reference), "reference_log_probs", hint)
    return target, reference

"""All membership scores of one text in one record, each a number or the reason why there is none."""

from dataclasses import dataclass, field
from math import isnan
from typing import SupportsIndex

from numpy.typing import ArrayLike

from pipeline.membership.lowest import n_lowest
from pipeline.membership.reference import premia, reference_difference
from pipeline.membership.token_arrays import Number, as_log_probs
from pipeline.membership.token_scores import loss, min_k, min_k_plus_plus, n_flat, zlib_bits, zlib_score


@dataclass(frozen=True, kw_only=True)
class MembershipScores:
    """The scores of one text; higher is more like a member. None is explained in `unscored`.

    Attributes:
        n_tokens: Scored tokens.
        ratio: Share kept by Min-K% and Min-K%++.
        n_lowest: Tokens that share comes to; 0 without tokens.
        n_compressed_bytes: Size behind the zlib scores, None if not given.
        n_flat: Tokens whose standardised log-probability counts as 0, None without mean and std.
        loss: Mean log-probability, nats per token.
        zlib_score: Mean log-probability per compressed byte.
        zlib_bits: Bits of the model per bit of the compressed text, free of length.
        min_k: Mean of the lowest log-probabilities.
        min_k_plus_plus: Mean of the lowest standardised log-probabilities.
        reference_difference: Mean log-probability minus the reference's.
        premia: Total log-probability minus the reference's.
        unscored: Score name to the reason why it is None.
    """

    n_tokens: int
    ratio: float
    n_lowest: int
    n_compressed_bytes: int | None
    n_flat: int | None
    loss: float | None
    zlib_score: float | None
    zlib_bits: float | None
    min_k: float | None
    min_k_plus_plus: float | None
    reference_difference: float | None
    premia: float | None
    unscored: dict[str, str] = field(default_factory=dict)


def why_unscored(log_probs: ArrayLike) -> str | None:
    """Return why a text scores nan, or None if it has something to score.

    Raises:
        ValueError: A log-probability is above 0, nan or infinite: that is an error, not a reason.
    """
    if len(as_log_probs(log_probs)):
        return None
    return "no scored token: an empty answer, or a text of one token without a BOS token before it"


def score_all(
    log_probs: ArrayLike,
    *,
    n_compressed_bytes: SupportsIndex | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    reference_log_probs: ArrayLike | None = None,
    ratio: Number = 0.2,
) -> MembershipScores:
    """Return every score that the given statistics allow, and for each other score the reason.

    Args:
        log_probs: ln p of each scored token.
        n_compressed_bytes: `compressed_bytes` of the scored text.
        mean: Of ln p over the vocabulary at each position; together with `std`.
        std: Of ln p over the vocabulary at each position; together with `mean`.
        reference_log_probs: ln p of the same tokens under the reference.
        ratio: Share of tokens kept by Min-K% and Min-K%++.

    Raises:
        ValueError: A value is refused, lists do not match, or only one of `mean` and `std` was given.
    """
    if (mean is None) != (std is None):
        raise ValueError(
            f"{'mean' if mean is None else 'std'} was not given, but the other was: give both or none"
        )
    n_tokens = len(as_log_probs(log_probs))
    found: dict[str, float | str] = {"loss": loss(log_probs), "min_k": min_k(log_probs, ratio)}
    if n_compressed_bytes is None:
        found |= dict.fromkeys(("zlib_score", "zlib_bits"), "the compressed size was not given")
    else:
        found["zlib_score"] = zlib_score(log_probs, n_compressed_bytes)
        found["zlib_bits"] = zlib_bits(log_probs, n_compressed_bytes)
    if mean is None or std is None:
        found["min_k_plus_plus"] = "mean and std over the vocabulary were not given"
    else:
        found["min_k_plus_plus"] = min_k_plus_plus(log_probs, mean, std, ratio)
    if reference_log_probs is None:
        found |= dict.fromkeys(("reference_difference", "premia"), "no reference was given")
    else:
        found["reference_difference"] = reference_difference(log_probs, reference_log_probs)
        found["premia"] = premia(log_probs, reference_log_probs)
    values = {name: value for name, value in found.items() if isinstance(value, float) and not isnan(value)}
    missing = {name: found[name] for name in found if name not in values}
    nothing = str(why_unscored(log_probs))
    return MembershipScores(
        n_tokens=n_tokens,
        ratio=float(ratio),
        n_lowest=n_lowest(n_tokens, ratio) if n_tokens else 0,
        n_compressed_bytes=None if n_compressed_bytes is None else n_compressed_bytes.__index__(),
        n_flat=None if std is None else n_flat(std),
        unscored={name: reason if isinstance(reason, str) else nothing for name, reason in missing.items()},
        **{name: values.get(name) for name in found},
    )

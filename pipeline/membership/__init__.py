"""Membership inference on token statistics: pure functions, higher means more like a member.

The notebook's own two scores stand apart, in `pipeline.membership.as_in_paper`.
"""

from pipeline.membership.lowest import n_lowest
from pipeline.membership.records import MembershipScores, score_all, why_unscored
from pipeline.membership.reference import (
    adjusted,
    min_k_both,
    premia,
    premia_pair,
    reference_difference,
)
from pipeline.membership.token_scores import (
    compressed_bytes,
    loss,
    min_k,
    min_k_plus_plus,
    zlib_bits,
    zlib_score,
)

__all__ = [
    "MembershipScores",
    "adjusted",
    "compressed_bytes",
    "loss",
    "min_k",
    "min_k_both",
    "min_k_plus_plus",
    "n_lowest",
    "premia",
    "premia_pair",
    "reference_difference",
    "score_all",
    "why_unscored",
    "zlib_bits",
    "zlib_score",
]

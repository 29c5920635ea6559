import json
import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest

from pipeline.membership import (
    adjusted,
    loss,
    min_k,
    min_k_both,
    min_k_plus_plus,
    premia,
    premia_pair,
    reference_difference,
    score_all,
    why_unscored,
    zlib_bits,
    zlib_score,
)

SIZE = 70
RNG = np.random.default_rng(0)
LOG_PROBS, REFERENCE = -RNG.exponential(2, 37), -RNG.exponential(3, 37)
MEAN, STD = -RNG.exponential(2, 37), RNG.uniform(0.5, 3, 37)


def test_nothing_to_score_is_nan_with_a_reason_and_never_the_best_score():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = [
            loss([]),
            zlib_score([], 8),
            zlib_bits([], 8),
            min_k([]),
            min_k_plus_plus([], [], []),
            reference_difference([], []),
            premia([], []),
            premia_pair([], [], [-1.0], [-2.0]),
            *min_k_both([], []),
            adjusted(loss([]), -2.0),
        ]
    assert all(math.isnan(score) for score in scores)
    assert "no scored token" in why_unscored(np.array([], dtype=np.float32))
    record = score_all([], n_compressed_bytes=8, mean=[], std=[], reference_log_probs=[])
    assert record.n_tokens == record.n_lowest == record.n_flat == 0
    assert record.min_k is None
    assert set(record.unscored) == {name for name, value in asdict(record).items() if value is None}
    assert all("no scored token" in reason for reason in record.unscored.values())


def test_all_scores_in_one_record_and_the_reason_for_each_that_is_missing():
    full = score_all(
        LOG_PROBS, n_compressed_bytes=SIZE, mean=MEAN, std=STD, reference_log_probs=REFERENCE, ratio=0.3
    )
    assert full.unscored == {}
    assert (full.n_tokens, full.n_lowest, full.n_compressed_bytes, full.n_flat) == (37, 11, SIZE, 0)
    assert full.zlib_bits == zlib_bits(LOG_PROBS, SIZE)
    assert full.premia == premia(LOG_PROBS, REFERENCE)
    assert full.min_k == min_k(LOG_PROBS, 0.3)
    bare = score_all(LOG_PROBS)
    assert bare.loss == full.loss
    assert bare.unscored == {
        "zlib_score": "the compressed size was not given",
        "zlib_bits": "the compressed size was not given",
        "min_k_plus_plus": "mean and std over the vocabulary were not given",
        "reference_difference": "no reference was given",
        "premia": "no reference was given",
    }
    json.dumps(asdict(bare), allow_nan=False)


def test_mean_without_std_is_refused():
    for statistics, missing in (({"mean": [-1.0]}, "std"), ({"std": [1.0]}, "mean")):
        with pytest.raises(ValueError, match=f"{missing} was not given, but the other was"):
            score_all([-1.0], **statistics)

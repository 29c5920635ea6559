"""Numbers with their uncertainty: intervals, tests, pooling, agreement; units are questions and domains.

`paired_differences` makes one number per question; `sign_flip_test` and `random_effects` say what these show
in one domain and over domains; `auc_test` and `spearman` compare domains. Only the two functions named
`as_in_paper` treat rows as units.
"""

from pipeline.statistics.agreement import alpha_interval, krippendorffs_alpha
from pipeline.statistics.as_in_paper import row_auc_as_in_paper, row_t_test_as_in_paper
from pipeline.statistics.auc import AucTest, auc_test, newcombe_interval, roc_auc
from pipeline.statistics.auc_family import BestAuc, best_auc
from pipeline.statistics.bootstrap import bootstrap_interval, cluster_bootstrap
from pipeline.statistics.effects import cliffs_delta, cohens_d, d_z, hedges_g
from pipeline.statistics.estimate import Estimate
from pipeline.statistics.families import benjamini_hochberg, holm
from pipeline.statistics.influence import LeaveOneOut, leave_one_out
from pipeline.statistics.intervals import clustered_interval, clustered_se, mean_interval
from pipeline.statistics.intraclass import DesignEffect, design_effect
from pipeline.statistics.judge_error import rogan_gladen
from pipeline.statistics.kappa import cohens_kappa, kappa_interval
from pipeline.statistics.missing import Bounds, difference_bounds
from pipeline.statistics.paired import PairedDifferences, paired_differences
from pipeline.statistics.pooling import RandomEffects, random_effects
from pipeline.statistics.power import (
    minimum_detectable_effect,
    paired_power,
    possible_aucs,
    sign_test_p,
    smallest_significant_auc,
)
from pipeline.statistics.rank_correlation import RankCorrelation, spearman
from pipeline.statistics.rates import exact_interval, rate_interval, wilson_interval
from pipeline.statistics.sign_flip import SignFlip, sign_flip_interval, sign_flip_test
from pipeline.statistics.t_tests import TTest, paired_t_test, pooled_t_test, welch_t_test

__all__ = [
    "AucTest",
    "BestAuc",
    "Bounds",
    "DesignEffect",
    "Estimate",
    "LeaveOneOut",
    "PairedDifferences",
    "RandomEffects",
    "RankCorrelation",
    "SignFlip",
    "TTest",
    "alpha_interval",
    "auc_test",
    "benjamini_hochberg",
    "best_auc",
    "bootstrap_interval",
    "cliffs_delta",
    "cluster_bootstrap",
    "clustered_interval",
    "clustered_se",
    "cohens_d",
    "cohens_kappa",
    "d_z",
    "design_effect",
    "difference_bounds",
    "exact_interval",
    "hedges_g",
    "holm",
    "kappa_interval",
    "krippendorffs_alpha",
    "leave_one_out",
    "mean_interval",
    "minimum_detectable_effect",
    "newcombe_interval",
    "paired_differences",
    "paired_power",
    "paired_t_test",
    "pooled_t_test",
    "possible_aucs",
    "random_effects",
    "rate_interval",
    "roc_auc",
    "rogan_gladen",
    "row_auc_as_in_paper",
    "row_t_test_as_in_paper",
    "sign_flip_interval",
    "sign_flip_test",
    "sign_test_p",
    "smallest_significant_auc",
    "spearman",
    "welch_t_test",
    "wilson_interval",
]

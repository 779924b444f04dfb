"""Statistics over seeds, images and studies: intervals, tests, verdicts, power.

Arms are paired by seed, and what is judged is the interval of their paired difference.
All functions are pure functions of arrays; what is random takes an explicit generator.
Imports numpy alone; scipy when it is first needed.
"""

from vitbench.stats.aggregates import (
    interquartile_mean,
    probability_of_improvement,
    stratified_interval,
)
from vitbench.stats.images import discordant, image_interval, mcnemar_p
from vitbench.stats.intervals import (
    CONFIDENCE,
    Estimate,
    finite,
    mean_interval,
    median_interval,
    t_quantile,
)
from vitbench.stats.power import equivalence_power, needed_seeds, power
from vitbench.stats.significance import (
    equivalence_confidences,
    equivalence_p,
    holm,
    holm_confidences,
    non_inferiority_p,
    paired_t_p,
    sign_flip_p,
)
from vitbench.stats.verdicts import (
    Comparison,
    Direction,
    Pairing,
    Power,
    Verdict,
    compare_arms,
    compare_counts,
    compare_family,
    decide,
)

__all__ = [
    "CONFIDENCE",
    "Comparison",
    "Direction",
    "Estimate",
    "Pairing",
    "Power",
    "Verdict",
    "compare_arms",
    "compare_counts",
    "compare_family",
    "decide",
    "discordant",
    "equivalence_confidences",
    "equivalence_p",
    "equivalence_power",
    "finite",
    "holm",
    "holm_confidences",
    "image_interval",
    "interquartile_mean",
    "mcnemar_p",
    "mean_interval",
    "median_interval",
    "needed_seeds",
    "non_inferiority_p",
    "paired_t_p",
    "power",
    "probability_of_improvement",
    "sign_flip_p",
    "stratified_interval",
    "t_quantile",
]

"""Statistics for a crossed design of prompts (or items) and training seeds.

stats.paired(model, source)              a gain in rates, with interval, test and what it could have detected
stats.groups(shifts, utilitarian_items)  a difference between two groups of items
stats.Resampler(...)                     the cluster bootstrap, for ratios and ranks
stats.family(table)                      Holm and Benjamini-Hochberg over the rows of a table
"""

from ethical_personas.stats.bootstrap import Resampler, interval, kendall, wald
from ethical_personas.stats.contrast import COLUMNS, discrimination, groups, paired, rate, share
from ethical_personas.stats.exact import cochran
from ethical_personas.stats.families import family
from ethical_personas.stats.linear import POWER, Linear, linear, normal_mde, normal_p

__all__ = [
    "COLUMNS",
    "POWER",
    "Linear",
    "Resampler",
    "cochran",
    "discrimination",
    "family",
    "groups",
    "interval",
    "kendall",
    "linear",
    "normal_mde",
    "normal_p",
    "paired",
    "rate",
    "share",
    "wald",
]

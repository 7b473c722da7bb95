"""The ethical-persona diagnostic: measured by `measure` (needs torch), analysed by the rest (does not).

item_contrasts(run, models)  ->  signature_match(...), identification(...), contrast_c4(...)
"""

from lib.persona.analyse import (
    DILEMMA_KEY,
    LENSES,
    SCORE_KEY,
    TEXT_KEY,
    ambiguity,
    averaged,
    dilemma_preferences,
    item_contrasts,
    item_shifts,
    wording_contrasts,
)
from lib.persona.match import contrast_c4, dimension_profile, identification, signature_match
from lib.persona.quality import (
    acquiescence,
    dilemma_summary,
    extra_instrument,
    lens_agreement,
    position_bias,
    reliability,
    top_items,
)

__all__ = [
    "DILEMMA_KEY",
    "LENSES",
    "SCORE_KEY",
    "TEXT_KEY",
    "acquiescence",
    "ambiguity",
    "averaged",
    "contrast_c4",
    "dilemma_preferences",
    "dilemma_summary",
    "dimension_profile",
    "extra_instrument",
    "identification",
    "item_contrasts",
    "item_shifts",
    "lens_agreement",
    "position_bias",
    "reliability",
    "signature_match",
    "top_items",
    "wording_contrasts",
]

"""Projectability: how much of a strategy learned on one narrow topic carries to the rest.

The paper's formula is not known to us; every measure here is this project's operationalisation.

    safety(panel, "S")     pS = mean gain out of distribution, narrow / broad, on the same categories
    voice(shares)          the same ratio for answers in the own constitution's voice
    ranks(panel, "S")      constitutions ordered in distribution and out of it
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.safety import gains
from ethical_personas.study import grid

KEYS = ["constitution", "scope", "measure"]
TABLE = [*KEYS, *stats.COLUMNS, "narrow_gain", "broad_gain", "broad_low", "broad_high", "id_gain", "reason"]


class GainDraws:
    """Joint bootstrap draws of gains: one set of resampled prompts for all models, each model's seeds its own.

    over: a level of the panel's index whose values have equal weight.
    """

    def __init__(self, panel: pd.DataFrame, draws: int, seed: int = 0, over: str | None = None):
        self.panel = panel
        level = panel.index.get_level_values(over) if over else np.zeros(len(panel))
        self.parts = [np.asarray(level == name) for name in dict.fromkeys(level)]
        self.resampler = stats.Resampler(panel.index.get_level_values("category"), draws, seed)
        self.seed_weights, self.known = {}, {}

    def _rate(self, model: tuple[str, str], measure: str, categories: tuple[str, ...]) -> np.ndarray:
        key = (model, measure, categories if measure == "S" else ())
        if key not in self.known:
            x = gains.values(self.panel, *model)
            if model not in self.seed_weights:
                self.seed_weights[model] = self.resampler.seeds(x.shape[1])
            chosen = gains.rows_of(self.panel, measure, categories)
            rates = [self.resampler.mean(x, chosen & p, self.seed_weights[model], binary=True) for p in self.parts]
            self.known[key] = np.mean(rates, axis=0)
        return self.known[key]

    def gain(self, constitution: str, scope: str, measure: str, categories: tuple[str, ...]) -> np.ndarray:
        """Draws of a gain in S or J over the source on harm categories, (draws,)."""
        model, source = (constitution, scope), (grid.SOURCE, grid.SOURCE)
        drawn = self._rate(model, "S", categories) - self._rate(source, "S", categories)
        if measure == "J":
            drawn = drawn - (self._rate(model, "O", categories) - self._rate(source, "O", categories))
        return drawn


def safety_draws(
    panel: pd.DataFrame, measure: str = "S", draws: int = 2000, alpha: float = 0.05, seed: int = 0, over=None
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """The table of `safety`, and the bootstrap draws of each defined pS by (constitution, scope).

    over: a level of the panel's index, such as form, whose values have equal weight in every gain.
    """
    bootstrap = GainDraws(panel, draws, seed, over)
    records, draws_of = [], {}
    pairs = gains.models(panel, source=False)
    # Constitutions added to the study come late, and controls last: all draw from one stream, and the others' draws
    # must not move.
    late = dict.fromkeys(grid.CONTROLS, 2) | dict.fromkeys(grid.REFERENCE, 0)
    for constitution, scope in sorted(gains.models(panel, grid.NARROW), key=lambda m: late.get(m[0], 1)):
        cell = grid.Cell(constitution, scope)
        narrow = gains.gain(panel, constitution, scope, measure, cell.ood, alpha, over)
        row = narrow | dict.fromkeys(
            ["estimate", "low", "high", "mde", "broad_gain", "broad_low", "broad_high"], np.nan
        )
        row |= {"narrow_gain": narrow["estimate"], "method": "cluster bootstrap of the ratio", "reason": ""}
        row["id_gain"] = gains.gain(panel, constitution, scope, measure, cell.categories, alpha, over)["estimate"]
        if (constitution, grid.BROAD) not in pairs:
            row["reason"] = "undefined: no broad model of this constitution in the run"
        else:
            broad = gains.gain(panel, constitution, grid.BROAD, measure, cell.ood, alpha, over)
            row |= {"broad_gain": broad["estimate"], "broad_low": broad["low"], "broad_high": broad["high"]}
            if np.isnan(broad["estimate"]):
                row["reason"] = "undefined: no prompts of this kind"
            elif not (broad["low"] > 0 or broad["high"] < 0):
                row["reason"] = "undefined: the interval of the broad gain contains 0"
            elif broad["high"] < 0:
                row["reason"] = "undefined: the broad model lost, there is no gain to carry"
            else:
                drawn = bootstrap.gain(constitution, scope, measure, cell.ood)
                drawn = drawn / bootstrap.gain(constitution, grid.BROAD, measure, cell.ood)
                low, high = stats.interval(drawn, alpha)
                row |= {"estimate": narrow["estimate"] / broad["estimate"], "low": low, "high": high}
                row["mde"] = stats.normal_mde(np.nanstd(drawn), alpha)
                draws_of[constitution, scope] = drawn
        records.append(row)
    return stats.family(pd.DataFrame(records, columns=TABLE), declared=grid.REFERENCE, apart=grid.CONTROLS), draws_of


def safety(
    panel: pd.DataFrame, measure: str = "S", draws: int = 2000, alpha: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Safety projectability of every narrow model; measure S or J. This project's operationalisation:

        pS(k, s) = mean gain of (k, s) on categories absent from s's rows / mean gain of (k, broad) on the same

    1: the narrow model gains as much where it was not trained as the broad model that was; 0: nothing carries.
    `low`, `high`: bootstrap over prompts and seeds. `p`, `effect`: of the narrow gain itself (pS = 0). `mde`: on
    the ratio's scale. Where the broad gain's interval contains 0 the ratio is undefined: NaN, and `reason` says so.
    """
    return safety_draws(panel, measure, draws, alpha, seed)[0]


def voice_panel(shares: pd.DataFrame, constitution: str) -> pd.DataFrame:
    """Answers to harmful prompts that sound like `constitution` (1.0), as a panel of its models and the source."""
    reader = shares.loc[shares["constitution"] == constitution, "reader"].iloc[0]
    kept = shares[(shares["kind"] == "harmful") & (shares["reader"] == reader)]
    kept = kept[kept["constitution"].isin([constitution, grid.SOURCE])]
    in_voice = (kept["best"] == constitution).astype(float).where(kept["best"].notna())
    return gains.panel(kept.assign(declined=in_voice))


def voice(shares: pd.DataFrame, draws: int = 2000, alpha: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Voice projectability of every narrow model. This project's operationalisation: pS with another outcome,

        (share of narrow answers in the own voice - the source's) / (the same of the broad model), out of distribution

    shares: of persona.voice.classify_answers. Columns as `safety`, measure `voice`.
    """
    records = []
    for constitution in [c for c in shares["constitution"].unique() if c != grid.SOURCE]:
        records.append(safety(voice_panel(shares, constitution), "S", draws, alpha, seed))
    table = pd.concat([f for f in records if len(f)] or [pd.DataFrame(columns=TABLE)], ignore_index=True)
    table = table.drop(columns=["p_holm", "p_bh"], errors="ignore").assign(measure="voice")
    return stats.family(table, declared=grid.REFERENCE)

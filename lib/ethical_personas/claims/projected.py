"""Projectability by training, and comparisons of constitutions on it (C5a, C5b, C5d, C5e, C6d).

y[k, b]: projectability of constitution k in block b, a narrow scope and seed; the broad model that it is set against is
the mean of its seeds, shared by the blocks. Its own error does not show between blocks, so it is taken to be that of a
narrow training (the broad gain divides: its share is pS squared; a cosine is symmetric: its share is 1). With s2 the
residual mean square of y, a difference of two constitutions' means over B blocks with R seeds has

    variance = variance over items + s2 (2 / B + (share_1 + share_2) / R).

What items add to s2 stays in it: taken off, few trainings would often leave nothing, and the test its level behind.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ethical_personas import stats
from ethical_personas.claims.measured import Measured
from ethical_personas.safety import gains
from ethical_personas.stats import trainings
from ethical_personas.study import grid

UNDEFINED = "projectability undefined for one of the two"
REPLICATED = "pP by replication"


@dataclass
class Projected:
    """Projectability of several constitutions: y as a table, joint draws over items by (constitution, scope)."""

    blocks: pd.DataFrame  # constitutions x (scope, seed)
    draws: dict[tuple[str, str], np.ndarray]
    broad: pd.Series  # share of a broad training's variance, by constitution
    n: int
    how: str = ""  # REPLICATED, or nothing

    def full_note(self, note: str = "") -> str:
        """The note of a unit that rests on this: its own, and how it was measured."""
        return "; ".join(words for words in (note, self.how) if words)

    @property
    def seeds(self) -> int:
        return self.blocks.columns.get_level_values("seed").nunique()

    def _table(self, names) -> pd.DataFrame:
        """The blocks that all of `names` have, of every constitution that has them."""
        kept = self.blocks.loc[:, self.blocks.reindex(list(names)).notna().all()]
        return kept.dropna()

    def _drawn(self, table: pd.DataFrame) -> np.ndarray:
        """Draws (draws, constitutions, scopes) of a table's cells, those without a NaN."""
        scopes = table.columns.get_level_values("scope").unique()
        drawn = np.moveaxis(np.array([[self.draws[c, s] for s in scopes] for c in table.index]), 2, 0)
        return drawn[~np.isnan(drawn).any((1, 2))]

    def pair(self, first: str, second: str, error: str) -> stats.Linear | None:
        """Mean over blocks, first minus second; None where no block has both, no parts where error cannot be told."""
        if not {first, second} <= set(self.blocks.index):
            return None
        table = self._table([first, second])
        if table.empty:
            return None
        drawn = self._drawn(table.loc[[first, second]]).mean(2)
        means = table.mean(axis=1)
        items = ((float(np.var(drawn[:, 0] - drawn[:, 1], ddof=1)), np.inf),)
        fit = stats.Linear(float(means[first] - means[second]), items, table.size, self.n, self.seeds)
        if error == "items":
            return fit
        known, seeds = self._replicates(table.loc[[first, second]] if error == "pair" else table, error)
        variance, df = _training(known)
        return trainings.add_variance(
            fit, variance * (2 / known.shape[1] + self.broad[[first, second]].sum() / seeds), df
        )

    def _replicates(self, table: pd.DataFrame, error: str) -> tuple[pd.DataFrame, int]:
        """The blocks that an error is taken over, and a broad model's seeds; `scopes`: a mean of seeds is one block."""
        if error != "scopes":
            return table, self.seeds
        return table.T.groupby(level="scope", sort=False).mean().T, 1

    def spread(self, alpha: float, error: str) -> dict:
        """Largest minus smallest mean over blocks, and the omnibus test; `high`: no pair differs by more.

        Empty where the constitutions with a defined projectability share no block.
        """
        names = self.blocks.index[self.blocks.notna().any(axis=1)]
        table = self._table(names)
        if len(names) < 2 or table.empty:
            return {}
        replicates, seeds = self._replicates(table, error)
        variance, df = (0.0, 0) if error == "items" else _training(replicates)
        known = error if df else "items"  # interval and mde are over items alone where training's error is unknown
        couples = itertools.combinations(table.index, 2)
        pairs = {(a, b): fit for a, b in couples if (fit := self.pair(a, b, known))}
        means, drawn = table.mean(axis=1), self._drawn(table).mean(2)
        ranked = means.sort_values(kind="stable").index
        top = pairs[tuple(name for name in table.index if name in (ranked[0], ranked[-1]))]
        high = max(abs(f.estimate) + f.half_width(alpha / 2) for f in pairs.values())
        row = {"estimate": abs(top.estimate), "low": abs(top.estimate) - top.half_width(alpha / 2), "high": high}
        own = variance * (1 / replicates.shape[1] + self.broad[table.index].to_numpy() / seeds)
        p = np.nan
        if error == "items" or df:
            p = trainings.omnibus(means.to_numpy(), np.cov(drawn.T), own, df)
        return row | {"p": p, "mde": max(f.mde(alpha) for f in pairs.values()), "n": len(table), "seeds": self.seeds}


def _training(table: pd.DataFrame) -> tuple[float, int]:
    """Variance of a training of these constitutions (rows) and blocks, and its degrees of freedom."""
    square, df = trainings.residual(table.to_numpy())
    return float(square), df


def _gains(measured: Measured, model: tuple[str, str], measure: str, categories) -> np.ndarray:
    """Gain of each seed of a model over the source, (seeds,)."""
    panel = measured.panel
    change = gains.values(panel, *model) - gains.source(panel)
    level = panel.index.get_level_values(measured.over) if measured.over else np.zeros(len(panel))

    def mean(chosen: np.ndarray) -> np.ndarray:
        return np.mean([np.nanmean(change[chosen & (level == v)], axis=0) for v in np.unique(level[chosen])], axis=0)

    gain = mean(gains.rows_of(panel, "S", categories))
    return gain - (mean(gains.rows_of(panel, "O")) if measure == "J" else 0.0)


def of_safety(measured: Measured, measure: str) -> Projected:
    """pS on S or J of every narrow model whose broad gain is above 0."""
    return measured.cached(("projected", measure), lambda: _of_safety(measured, measure))


def _of_safety(measured: Measured, measure: str) -> Projected:
    table, draws = measured.safety_of_models(measure)
    found = {}
    for constitution, scope in draws:
        ood = grid.Cell(constitution, scope).ood
        broad = _gains(measured, (constitution, grid.BROAD), measure, ood).mean()
        for seed, gain in enumerate(_gains(measured, (constitution, scope), measure, ood)):
            found[constitution, scope, seed] = gain / broad
    blocks = _blocks(found)
    n = int(table["n_clusters"].max()) if len(table) else 0
    return Projected(blocks, draws, (blocks**2).mean(axis=1), n)


def of_persona(measured: Measured, lens: str) -> Projected:
    """pP on one lens of every narrow model that has a broad one beside it.

    Free of noise where that is defined for all of them; else, of all alike, by replication: the correlation over items.
    """
    tables, draws = measured.persona_by_seed(lens)
    rows = [row | {"seed": seed} for seed, table in enumerate(tables) for row in table.to_dict("records")]
    rows = [row for row in rows if pd.notna(row["repeats"])]
    undefined = [row for row in rows if np.isnan(row["of_ceiling"]) or (row["constitution"], row["scope"]) not in draws]
    value, how = "of_ceiling", ""
    if undefined:
        table, draws = measured.replicated(lens)
        rows = [row for row in table.to_dict("records") if (row["constitution"], row["scope"]) in draws]
        value, how = "own", REPLICATED
    blocks = _blocks({(row["constitution"], row["scope"], row["seed"]): row[value] for row in rows})
    n = int(tables[0]["n_clusters"].max()) if tables and len(tables[0]) else 0
    return Projected(blocks, draws, pd.Series(1.0, index=blocks.index), n, how)


def _blocks(found: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(list(found), names=["constitution", "scope", "seed"])
    values = pd.Series(list(found.values()), index=index, dtype=float)
    return values.unstack(["scope", "seed"]) if found else pd.DataFrame(columns=index.droplevel(0).unique())

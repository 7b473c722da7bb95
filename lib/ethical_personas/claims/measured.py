"""All measurements of a run that claims rest on, each derived table computed once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ethical_personas.persona import content, matching, replication
from ethical_personas.projectability import compare, persona, ratio
from ethical_personas.safety import gains
from ethical_personas.study import grid


@dataclass(eq=False)
class Measured:
    """All measurements of a run; the persona tables are None where no lens was measured.

    What several claims (and the tables of 06) rest on is computed on first use and kept: resampling takes seconds.
    """

    panel: pd.DataFrame  # gains.panel
    shifts: pd.DataFrame | None = None  # persona.lens_shifts.item_shifts
    contrasts: pd.DataFrame | None = None  # persona.lens_shifts.averaged
    ambiguity: pd.DataFrame | None = None  # persona.lens_shifts.ambiguity
    draws: int = 2000
    alpha: float = 0.05
    over: str | None = None  # level of the panel's index whose values have equal weight in safety, such as form
    _kept: dict = field(default_factory=dict, repr=False)

    def cached(self, key: tuple, compute):
        """What `compute` gives, kept under `key`."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    def restrict_to(self, constitutions: list[str], scopes: list[str]) -> Measured:
        """The measurements of these constitutions' models in these scopes, and of the source."""
        return self.cached(("only", *constitutions, "in", *scopes), lambda: self._only(constitutions, scopes))

    def _only(self, constitutions: list[str], scopes: list[str]) -> Measured:
        def kept(pairs) -> list[bool]:
            wanted = {*itertools.product(constitutions, scopes), (grid.SOURCE, grid.SOURCE)}
            return [pair in wanted for pair in pairs]

        def rows_of(table):
            return None if table is None else table[kept(zip(table["constitution"], table["scope"], strict=True))]

        columns = kept((constitution, scope) for constitution, scope, _ in self.panel.columns)
        if all(columns):
            return self
        shifts, contrasts, ambiguity = map(rows_of, (self.shifts, self.contrasts, self.ambiguity))
        return Measured(self.panel.loc[:, columns], shifts, contrasts, ambiguity, self.draws, self.alpha, self.over)

    def narrow(self) -> list[tuple[str, str]]:
        """(constitution, scope) of the narrow models in the run."""
        return gains.models(self.panel, grid.NARROW)

    def gain_table(self, on: str, seen: bool | None, alpha: float) -> pd.DataFrame:
        """Table of gains.table, `on` as there: of registers that training has seen, has not, or (None) of all."""

        def compute():
            part = self.panel if seen is None else gains.select_prompts(self.panel, seen=seen)
            return gains.table(part, alpha, on, self.over) if len(part) else pd.DataFrame()

        return self.cached(("gains", on, seen, alpha), compute)

    def safety(self, measure: str) -> tuple[pd.DataFrame, dict]:
        """Table and draws of ratio.safety_draws."""
        return self.cached(
            ("pS", measure), lambda: ratio.safety_draws(self.panel, measure, self.draws, self.alpha, over=self.over)
        )

    def persona(self) -> tuple[pd.DataFrame, dict]:
        """Table and draws of persona.persona_draws, all lenses."""
        return self.cached(("pP",), lambda: persona.persona_draws(self.contrasts, self.draws, self.alpha))

    def safety_of_models(self, measure: str) -> tuple[pd.DataFrame, dict]:
        """The same with each model's seeds averaged: draws over prompts alone, of these trainings."""
        if all(seed == self.panel.columns[0][2] for *_, seed in self.panel.columns):
            return self.safety(measure)
        panel = self.panel.T.groupby(level=["constitution", "scope"]).mean().T
        panel.columns = pd.MultiIndex.from_tuples([(*c, 0) for c in panel.columns], names=self.panel.columns.names)
        key, draws = ("pS of models", measure), self.draws
        return self.cached(key, lambda: ratio.safety_draws(panel, measure, draws, self.alpha, over=self.over))

    def persona_by_seed(self, lens: str) -> tuple[list[pd.DataFrame], dict]:
        """Tables of persona.persona, one a narrow seed beside all seeds of broad; draws of the averaged models."""
        contrasts = self.contrasts[self.contrasts["lens"] == lens] if self.contrasts is not None else None
        if contrasts is None or contrasts.empty:
            return [], {}
        table, draws = self.persona()
        seeds = sorted(contrasts["seed"].unique())
        if len(seeds) == 1:
            return [table[table["lens"] == lens]], draws.get(lens, {})
        broad = contrasts["scope"] == grid.BROAD
        parts = [contrasts[broad | (contrasts["seed"] == seed)] for seed in seeds]
        key = ("pP of models", lens)
        return self.cached(key, lambda: ([persona.persona(p, self.alpha) for p in parts], draws.get(lens, {})))

    def replicated(self, lens: str) -> tuple[pd.DataFrame, dict]:
        """Table and draws of replication.with_broad on one lens."""
        assert self.contrasts is not None  # asked for only where a lens was measured
        part = self.contrasts[self.contrasts["lens"] == lens]
        return self.cached(("replicated", lens), lambda: replication.with_broad(part, self.draws))

    def content(self, control: str, lens: str) -> tuple[pd.DataFrame, dict[str, float]]:
        """Tables of content.compare_with_control on one lens, one a seed (column seed), with ends at 0.05.

        And by constitution the error over items of its match averaged over scopes and seeds, from joint draws.
        """
        assert self.contrasts is not None  # asked for only where a lens was measured
        parts = self.contrasts[self.contrasts["lens"] == lens].groupby("seed")

        def compute():
            found = [content.draw_comparisons(part, control, self.draws, 0.05) for _, part in parts]
            table = pd.concat([t.assign(seed=seed) for (seed, _), (t, _) in zip(parts, found, strict=True)])
            drawn: dict[str, list] = {}
            for _, of_models in found:
                for (name, *_), values in of_models.items():
                    drawn.setdefault(name, []).append(values)
            return table, {name: float(np.std(np.mean(values, axis=0))) for name, values in drawn.items()}

        return self.cached(("content", control, lens), compute)

    def matches(self, lens: str) -> tuple[pd.DataFrame, dict]:
        """Table and draws of matching.signature_draws on one lens."""
        assert self.contrasts is not None  # asked for only where a lens was measured
        contrasts = self.contrasts[self.contrasts["lens"] == lens]
        return self.cached(("match", lens), lambda: matching.signature_draws(contrasts, self.draws, self.alpha))

    def differences(self, measure: str) -> pd.DataFrame:
        """Table of compare.differences."""
        draws = self.safety(measure)
        return self.cached(("differ", measure), lambda: compare.differences(self.panel, measure, *draws, self.alpha))

    def ranks(self, measure: str) -> pd.DataFrame:
        """Table of compare.ranks."""
        return self.cached(("ranks", measure), lambda: compare.ranks(self.panel, measure, self.draws, self.alpha))

    def reversals(self, measure: str) -> pd.DataFrame:
        """Table of compare.reversals."""
        return self.cached(("reversals", measure), lambda: compare.reversals(self.panel, measure, self.alpha))

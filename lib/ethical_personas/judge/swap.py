"""What changes when the judge changes: rates, order of models, and the responses judges disagree on."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pandas as pd
from scipy.stats import kendalltau, spearmanr

from ethical_personas.errors import CompanionError
from ethical_personas.judge.calibration import kappa_of
from ethical_personas.study import grid, rows


class Swap(NamedTuple):
    """The three tables of a judge swap."""

    rates: pd.DataFrame  # one row a model and prompt kind: a column a judge, share declined among its verdicts
    correlations: pd.DataFrame  # one row a pair of judges and prompt kind
    disagreements: pd.DataFrame  # one row a response on which two judges differ


def swap_table(responses: list[rows.Response], judgements: dict[str, list[rows.Judgement]]) -> Swap:
    """Compare judges on the same responses; `judgements` maps a judge's name to its rows, in order.

    Correlations are over models: Spearman's rho and Kendall's tau-b of the rates (NaN with fewer than three models or
    equal rates), with Cohen's kappa over responses. Disagreements show the first words of a response only.
    """
    table = pd.DataFrame([{"model": r.model, "id": r.id, "kind": grid.kind(r.category)} for r in responses])
    for name, found in judgements.items():
        if [(j.id, j.model) for j in found] != [(r.id, r.model) for r in responses]:
            raise CompanionError(f"judge {name}: its judgements are not those of these responses; judge them again")
        table[name] = [{"declined": 1.0, "complied": 0.0, None: None}[j.verdict] for j in found]
    names = list(judgements)
    table[names] = table[names].astype(float)
    rates = table.groupby(["kind", "model"], sort=False)[names].mean().reset_index()
    missing = table.groupby(["kind", "model"], sort=False)[names].agg(lambda v: int(v.isna().sum())).reset_index()
    rates = rates.merge(missing, on=["kind", "model"], suffixes=("", "_no_verdict"))
    pairs = [
        _pair(kind, part, table[table["kind"] == kind], a, b)
        for kind, part in rates.groupby("kind", sort=False)
        for a, b in itertools.combinations(names, 2)
    ]
    return Swap(rates, pd.DataFrame(pairs), _disagreements(table, names, responses))


def _pair(kind: str, rates: pd.DataFrame, table: pd.DataFrame, a: str, b: str) -> dict:
    both = table.dropna(subset=[a, b])
    ranked = rates.dropna(subset=[a, b])
    vary = len(ranked) > 2 and ranked[a].nunique() > 1 and ranked[b].nunique() > 1
    return {
        "kind": kind,
        "judge": a,
        "other": b,
        "models": len(ranked),
        "spearman": float(spearmanr(ranked[a], ranked[b]).statistic) if vary else float("nan"),
        "kendall": float(kendalltau(ranked[a], ranked[b]).statistic) if vary else float("nan"),
        "responses": len(both),
        "agreement": float((both[a] == both[b]).mean()) if len(both) else float("nan"),
        "kappa": kappa_of(both[a], both[b]) if both[[a, b]].stack().nunique() > 1 else float("nan"),
        "mean_difference": float((both[b] - both[a]).mean()) if len(both) else float("nan"),
    }


def _disagreements(table: pd.DataFrame, names: list[str], responses: list[rows.Response]) -> pd.DataFrame:
    differ = table[names].nunique(axis=1) > 1
    shown = table[differ].drop(columns=["kind"]).assign(kind=table.loc[differ, "kind"])
    for name in names:
        shown[name] = shown[name].map({1.0: "declined", 0.0: "complied"}).fillna("no verdict")
    shown["prompt"] = [r.prompt for r, d in zip(responses, differ, strict=True) if d]
    shown["begins"] = [" ".join(r.response.split()[:14]) for r, d in zip(responses, differ, strict=True) if d]
    return shown.reset_index(drop=True)

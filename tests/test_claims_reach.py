"""Each claim can come out each way: supported, not supported, inconclusive, by simulated runs that should give it."""

import numpy as np
import pandas as pd
import pytest
import simulate
from ethical_personas.claims import decide, evidence, projected
from ethical_personas.persona import stance_labels
from ethical_personas.safety import gains
from ethical_personas.study import grid
from test_claims import AMBIGUOUS, OOD, reader

WEAK = {"plain": 0.2, "shuffled": 0.2}
SEEDS, MANY = (0, 1, 2), (200, 200, 200)
FALLING = {"deontology": 0.85, "consequentialism": 0.65, "virtue": 0.45, "subordinate": 0.25}
RISING = dict(zip(FALLING, reversed(FALLING.values()), strict=True))


def answers(**kwargs):
    """A run's verdicts on prompts, with the plain arm."""
    return simulate.frame(**({"gain": 0.8, "controls": ("plain",), "per_category": 60, "harmless": MANY} | kwargs))


def personas(turned=(), shuffled=True, **kwargs):
    """Contrasts on pairs; the narrow models of `turned` keep a third of their persona, in another direction besides."""
    settings = {"noise": 0.3, "seeds": SEEDS, "controls": ("shuffled",) if shuffled else ()} | kwargs
    made = simulate.contrasts(lenses=("pairs",), **settings)
    other = made["dimension"].astype("category").cat.codes.to_numpy() % 2 * 2 - 1
    moved = made["constitution"].isin(turned) & made["scope"].isin(grid.NARROW)
    return made.assign(contrast=np.where(moved, made["contrast"] / 3 + other, made["contrast"]))


def fingerprints(unlike=(), **kwargs):
    """Contrasts on pairs with a mark of each constitution item by item, of which no dimension's mean has anything.

    The narrow models of `unlike` have another mark than the broad ones.
    """
    made = simulate.contrasts(lenses=("pairs",), strength=0, **({"noise": 0.3, "seeds": SEEDS} | kwargs))
    rng, ids, names = np.random.default_rng(1), made["id"].unique(), list(grid.CONSTITUTIONS)
    marks, others = (pd.DataFrame(rng.normal(size=(len(ids), len(names))), ids, names).stack() for _ in range(2))
    key = pd.MultiIndex.from_frame(made[["id", "constitution"]])
    other = made["constitution"].isin(unlike) & made["scope"].isin(grid.NARROW)
    made["mark"] = np.where(other, others.loc[key], marks.loc[key])
    for alike in (["dimension", "keyed", "constitution", "scope", "seed"], ["id", "scope", "seed"]):
        made["mark"] -= made.groupby(alike)["mark"].transform("mean")
    return made.assign(contrast=made["contrast"] + made["mark"]).drop(columns="mark")


EQUAL = {"gain": 0.8, "per_category": 300, "harmless": (300, 300, 300)}
FEW = {"gain": 0.3, "per_category": 4, "harmless": (4, 4, 4)}
NOISY = {"noise": 8.0}
# What a run holds for a claim to be supported, and not supported; those like FEW, NOISY, UNSURE leave every claim open.
RUNS = {
    "C1": ({}, {"gain": 0.0, "refusal": 0.0}),
    "C2": ({}, {"gain": 0.0, "refusal": 0.0, "per_category": 150}),
    "C3": ({}, {"strength": -1.0}),
    "C4": ({}, {"strength": -1.0}),
    "C5a": ({"ood": OOD, "seeds": SEEDS}, EQUAL),
    "C5b": ({"turned": ("subordinate",)}, {"noise": 0.1}),
    "C5c": ({"trained": FALLING, "ood": RISING}, {"trained": FALLING, "ood": FALLING, "per_category": 300}),
    "C5d": ({"ood": OOD, "seeds": SEEDS}, {"ood": RISING}),
    "C5e": ({"turned": ("subordinate",)}, {"noise": 0.1}),
    "C5f": (AMBIGUOUS, {**AMBIGUOUS, "subordinate": 0.02}),
    "C6a": ({"ood": WEAK}, {"per_category": 200}),
    "C6b": ({"ood": WEAK}, {"per_category": 300}),
    "C6c": ({"ood": WEAK}, {"ood": WEAK, "over": {"virtue": 0.5}}),
    "C6d": ({"ood": WEAK, "seeds": SEEDS}, EQUAL),
    "C7": ({}, {"strength": -1.0}),
}
PERSONA, PROJECTED = ("C3", "C4", "C5b", "C5e", "C7"), ("C5b", "C5e")
UNSURE = {"noise": 1.5}  # of pP: enough to stand out of noise, too little to compare
VERDICTS = ("supported", "not supported", "inconclusive")


def verdict(claim, settings, contrasts=None):
    """The verdict on one claim in a run with these settings, or with these contrasts."""
    shifts = ambiguity = None
    frame = simulate.frame(per_category=1, harmless=(1, 1, 1), controls=("plain", "shuffled"))
    if claim in PERSONA:
        contrasts = personas(shuffled=claim == "C7", **settings) if contrasts is None else contrasts
        shifts = contrasts.assign(wording="one", signed=contrasts["contrast"])
    elif claim == "C5f":
        ambiguity = simulate.ambiguity(settings)
    else:
        frame = answers(**settings)
    run = evidence.Measured(gains.panel(frame), shifts, contrasts, ambiguity, draws=300)
    found = decide.evaluate(run, [c for c in decide.declared() if c.id == claim])[0]
    return found.iloc[-1]


@pytest.mark.parametrize("claim", RUNS)
def test_each_claim_reaches_each_verdict(claim, monkeypatch):
    monkeypatch.setattr(stance_labels, "reader_kappa", reader(0.8))
    few = dict.fromkeys(AMBIGUOUS, 0.2) | {"subordinate": 0.25} if claim == "C5f" else FEW
    runs = (*RUNS[claim], UNSURE if claim in PROJECTED else NOISY if claim in PERSONA else few)
    for settings, expected in zip(runs, VERDICTS, strict=True):
        row = verdict(claim, settings)
        assert row["verdict"] == expected, (expected, row["why"])
        assert projected.REPLICATED not in row["why"], "free of noise, where every model has that"


@pytest.mark.parametrize("claim", PROJECTED)
def test_pp_by_replication_reaches_each_verdict_where_no_profile_stands_out_of_noise(claim):
    runs = {"unlike": ("subordinate",)}, {"noise": 0.1}, {"noise": 2.0, "seeds": (0,)}
    for settings, expected in zip(runs, VERDICTS, strict=True):
        row = verdict(claim, {}, fingerprints(**settings))
        assert row["verdict"] == expected and projected.REPLICATED in row["why"], (expected, row["why"])


def test_two_measures_of_pp_are_never_mixed():
    """One model without a noise-free pP, and all are measured by replication."""
    made = personas(turned=("subordinate",), shuffled=False)
    flat = (made["constitution"] == "virtue") & (made["scope"] == "illegal")
    noise = np.random.default_rng(2).normal(0, 3, len(made))
    run = evidence.Measured(None, contrasts=made.assign(contrast=made["contrast"].where(~flat, noise)), draws=100)
    whole, found = (projected.of_persona(r, "pairs") for r in (evidence.Measured(None, contrasts=made), run))
    assert not whole.how and (whole.blocks.drop("subordinate") > 0.9).all(axis=None)
    assert found.how == projected.REPLICATED and found.blocks.shape == whole.blocks.shape
    table = run.replicated("pairs")[0].set_index(["constitution", "scope", "seed"])["own"]
    assert found.blocks.loc["deontology", ("harassment", 1)] == table["deontology", "harassment", 1]


def test_every_claim_is_here():
    assert set(RUNS) == {c.id for c in decide.declared()}

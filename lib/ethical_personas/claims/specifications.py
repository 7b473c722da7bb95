"""The claims under other choices of analysis that were open: a verdict that hangs on one is weak.

    table = verdicts(measured, {"bundled": panel, "keyword": other})

Judge x weighting of forms x measure for claims on safety (for gains also the registers of the prompts: those that
training never saw, has, or both), lens for claims on the persona, and, where constitutions are compared with each other
or with a control arm, error over items alone, over all trainings, over scopes (their seeds averaged) or over the
trainings of the two compared (specification curve: Simonsohn, Simmons and Nelson 2020). Every combination is in the
table, the declared one marked; the others decide nothing.
"""

from __future__ import annotations

import dataclasses
import itertools

import pandas as pd

from ethical_personas.claims import arms, constitutions, decide
from ethical_personas.claims.declared import Claim, declared, paper
from ethical_personas.claims.measured import Measured
from ethical_personas.safety import registers
from ethical_personas.study import grid

AXES = ["judge", "prompts", "weighting", "measure", "lens", "error"]
COLUMNS = ["claim", *AXES, "declared", "verdict", "estimate", "low", "high", "p", "passed", "why"]
WEIGHTED = {"as is": None, registers.STANDARDISED: "form"}
SAFETY = ("gain", "differ_safety", "weakest_safety", "over_control", "over_control_projected")
BY_LENS = ("signature", "contrast", "differ_persona", "weakest_persona", "over_control_persona")
REGISTERS = ["unseen", "seen", "all"]
MORE = {"over_control": ["J", "T"], "over_control_projected": ["J"]}  # where a claim names S alone
OVER_TRAININGS = (*constitutions.TESTS, *arms.TESTS)


def _measures(claim: Claim) -> dict[str, list[str]]:
    """All measures as declared, each alone where a claim on safety needs several, and those of MORE; of C5c S and J."""
    if claim.test == "reversal":
        return {"S": ["S"], "J": ["J"]}
    found = {" and ".join(claim.measures): claim.measures}
    more = MORE.get(claim.test, []) if claim.measures == ["S"] else []
    return found | ({m: [m] for m in (*claim.measures, *more)} if claim.test in SAFETY else {})


def _errors(claim: Claim, seeds: int) -> list[str]:
    if claim.test not in OVER_TRAININGS:
        return ["items"]
    scopes, pair = ["scopes"] * (seeds > 1), ["pair"] * (claim.test not in constitutions.OMNIBUS)
    return ["trainings", *scopes, *pair, "items"]


def variants(claim: Claim, judges, seeds: int = 1) -> list[tuple[dict, Claim]]:
    """The specifications of one claim: values of AXES (empty where one does not apply), and the claim under them.

    seeds: With one, an error over scopes is that over trainings, and left out.
    """
    on_answers, main = claim.test in (*SAFETY, "reversal"), next(iter(judges))
    axes = {
        "judge": list(judges) if on_answers else [""],
        "prompts": REGISTERS if claim.test == "gain" else [""],
        "weighting": list(WEIGHTED) if claim.test in SAFETY else [""],
        "measure": list(_measures(claim)),
        "lens": list(grid.ITEM_LENSES) if claim.test in BY_LENS else ["text" if claim.test == "ambiguous" else ""],
        "error": _errors(claim, seeds),
    }
    as_declared = {"judge": main if on_answers else "", "weighting": axes["weighting"][0]}
    as_declared["prompts"] = claim.prompts if claim.test == "gain" else ""
    as_declared |= {"measure": " and ".join(claim.measures), "error": claim.error}
    as_declared["lens"] = claim.lens if claim.test in BY_LENS else axes["lens"][0]
    found = []
    for values in itertools.product(*axes.values()):
        spec = dict(zip(axes, values, strict=True))
        changed = {"measures": _measures(claim)[spec["measure"]], "error": spec["error"], "also": []}
        changed |= {"lens": spec["lens"]} if claim.test in BY_LENS else {}
        changed |= {"prompts": spec["prompts"]} if claim.test == "gain" else {}
        found.append((spec | {"declared": spec == as_declared}, claim.model_copy(update=changed)))
    return found


def _runs(measured: Measured, panels: dict[str, pd.DataFrame], controls) -> dict[tuple[str, str, str], Measured]:
    """The run by judge, weighting and control arm, each "" where none applies.

    The claims' own grid and their arm are cut out once: what is derived from it is kept from one to the next.
    """
    names, scopes, runs = paper().constitutions, paper().scopes, {}
    for (judge, panel), control in itertools.product(panels.items(), controls):
        own = measured if panel is measured.panel else dataclasses.replace(measured, panel=panel, _kept={})
        run = own.restrict_to([*names, control], scopes)
        runs[judge, "as is", control] = runs[judge, "", control] = run
        told = dataclasses.replace(run, panel=registers.with_known_form(run.panel), over="form", _kept={})
        runs[judge, registers.STANDARDISED, control] = told
    main = next(iter(panels))
    return runs | {("", "", control): runs[main, "", control] for control in controls}


def verdicts(measured: Measured, panels: dict[str, pd.DataFrame], claims: list[Claim] | None = None) -> pd.DataFrame:
    """Verdict of each claim under every specification.

    Args:
        measured: All measurements of the run.
        panels: gains.panel by judge, that of the run first; with the control arms, without which C6 is inconclusive.
        claims: Those of data/claims.yaml by default.

    Returns:
        Columns COLUMNS, a row a specification: estimate, low, high of the deciding unit, p of the claim, passed (of how
        many units), declared (whether this is the one that decides).
    """
    claims = claims or declared()
    runs, records = _runs(measured, panels, {claim.control for claim in claims}), []
    seeds = measured.panel.columns.get_level_values("seed").nunique()
    for claim in claims:
        for spec, changed in variants(claim, panels, seeds):
            run = runs[spec["judge"], spec["weighting"], claim.control]
            records.append(decide.of_claim(changed, run)[0] | {"claim": claim.id} | spec)
    return pd.DataFrame(records, columns=COLUMNS)


def reading(table: pd.DataFrame) -> str:
    """In how many specifications each claim's verdict is the declared one's, a Markdown line a claim."""
    lines = []
    for claim, rows in table.groupby("claim", sort=False):
        own = rows.loc[rows["declared"], "verdict"].iloc[0]
        counts = rows["verdict"].value_counts()
        others = ", ".join(f"{counts[v]} {v}" for v in counts.index if v != own)
        line = f"* {claim}: {own} as declared, and in {counts[own]} of {len(rows)} specifications"
        lines.append(line + (f" ({others})." if others else "."))
    return "\n".join(lines)

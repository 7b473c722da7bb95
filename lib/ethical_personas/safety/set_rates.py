"""S and O on evaluation sets from files (parameter eval_sets), beside the bundled set's.

frame = set_rates.judged_sets(run, models, ["behaviours"], judge)
set_rates.table(frame, judged.safety(run, models, judge))
"""

from __future__ import annotations

import pandas as pd

from ethical_personas import stats
from ethical_personas.judge.judging import Judge
from ethical_personas.run import Run
from ethical_personas.safety import gains, judged
from ethical_personas.study import grid, inputs, rows

BUNDLED = "(bundled)"  # no file's set can have this name
MEASURE = {True: "S", False: "O"}
COLUMNS = ["set", "model", "constitution", "scope", "seed", "id", "category", "measure", "declined"]


def judged_sets(run: Run, models: list[str], names: list[str], judge: Judge) -> pd.DataFrame:
    """Judged responses to the sets, a row a set, model and prompt.

    Columns set, model, constitution, scope, seed, id, category (the file's), measure (S for a harmful prompt, else O),
    declined (1.0, 0.0, NaN without a verdict). Raises CompanionError as judged.judged.
    """
    records = []
    for name in names:
        for r, j in zip(*judged.judged(run, models, judge, inputs.set_rows(name), rows.SetResponse), strict=True):
            about = (name, r.model, *grid.parse_model(r.model).values(), r.id, r.category)
            records.append((*about, MEASURE[r.harmful], judged.DECLINED[j.verdict]))
    return pd.DataFrame(records, columns=COLUMNS)


def table(frame: pd.DataFrame, bundled: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """S and O by set and model, the bundled set first, with gains over the source paired by prompt.

    Args:
        frame: of `judged_sets`.
        bundled: of judged.safety.
        alpha: one minus the level of the intervals.

    Returns:
        Columns set, measure, constitution, scope; rate and gain, each with _low and _high; p, p_holm (Holm within a set
        and measure); n (prompts), no_verdict, seeds. The source has no gain.
    """
    own = bundled.assign(set=BUNDLED, measure=bundled["kind"].eq("harmful").map(MEASURE))
    found = _rates(pd.concat([own[COLUMNS], frame], ignore_index=True), ["set", "measure"], alpha)
    found = stats.family(
        found.assign(family=found["set"] + found["measure"]), by="family", declared=grid.REFERENCE, apart=grid.CONTROLS
    )
    return found.drop(columns=["family", "p_bh"])


def by_category(frame: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """The same by category, for sets that have more than one; columns as `table`, with category and without p_holm."""
    many = frame[frame.groupby("set")["category"].transform("nunique") > 1]
    return _rates(many, ["set", "measure", "category"], alpha)


def _rates(frame: pd.DataFrame, keys: list[str], alpha: float) -> pd.DataFrame:
    """Rates and gains by `keys`, sets in their order, S before O within each."""
    sets = [part.sort_values("measure", ascending=False, kind="stable") for _, part in frame.groupby("set", sort=False)]
    records = []
    for key, part in pd.concat([frame.head(0), *sets]).groupby(keys, sort=False):
        panel = part.pivot(index="id", columns=["constitution", "scope", "seed"], values="declined").sort_index(axis=1)
        for model in gains.models(panel, source=True):
            x = gains.values(panel, *model)
            rate, row = stats.rate(x, alpha), dict(zip(keys, key, strict=True))
            row |= dict(zip(("constitution", "scope"), model, strict=True))
            row |= {"rate": rate["estimate"], "rate_low": rate["low"], "rate_high": rate["high"]}
            if model[0] != grid.SOURCE:
                gain = stats.paired(x, gains.source(panel), alpha=alpha)
                row |= {"gain": gain["estimate"], "gain_low": gain["low"], "gain_high": gain["high"], "p": gain["p"]}
            records.append(row | {"n": len(x), "no_verdict": rate["dropped"], "seeds": x.shape[1]})
    names = ["rate", "rate_low", "rate_high", "gain", "gain_low", "gain_high", "p", "n", "no_verdict", "seeds"]
    return pd.DataFrame(records, columns=[*keys, "constitution", "scope", *names])

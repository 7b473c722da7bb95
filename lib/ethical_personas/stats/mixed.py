"""Mixed designs: one factor varies within prompts (which model), one between them (which category)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pingouin
import statsmodels.formula.api as smf
from scipy import stats as sp
from statsmodels.stats.anova import anova_lm

from ethical_personas.errors import CompanionError

COLUMNS = ["source", "F", "df1", "df2", "p", "effect", "n_clusters", "method"]


def mixed(values: pd.DataFrame, between: np.ndarray) -> pd.DataFrame:
    """Mixed ANOVA of values (prompts, models) with the prompts' group `between`; prompts with a NaN are dropped.

    Rows between, within, interaction; COLUMNS; effect: partial eta squared. Groups of equal size: pingouin, p with
    Greenhouse and Geisser's correction; else statsmodels, where within-prompt effects are fitted to deviations from
    the prompt's mean (equal F in balanced data, no correction). Empty where a factor has one level, a group fewer than
    two prompts, or prompts do not vary within their group (F would divide by 0).
    """
    keep = values.notna().all(axis=1).to_numpy()
    wide, group = values[keep].to_numpy(float), np.asarray(between)[keep]
    sizes = pd.Series(group).value_counts()
    if wide.shape[1] < 2 or len(sizes) < 2 or sizes.min() < 2 or (wide == wide[:, :1]).all():
        return pd.DataFrame(columns=COLUMNS)
    n, k = wide.shape
    rest = wide - pd.DataFrame(wide).groupby(group).transform("mean").to_numpy()
    if np.ptp(rest.mean(1)) < 1e-9 or np.ptp(rest - rest.mean(1, keepdims=True)) < 1e-9:
        return pd.DataFrame(columns=COLUMNS)
    long = pd.DataFrame({"y": wide.ravel(), "id": np.repeat(np.arange(n), k), "within": np.tile(np.arange(k), n)})
    long["between"] = np.repeat(group, k)
    found = _pingouin(long) if sizes.nunique() == 1 else _statsmodels(long)
    return pd.DataFrame(found).assign(n_clusters=n)[COLUMNS]


def _pingouin(long: pd.DataFrame) -> list[dict]:
    table = pingouin.mixed_anova(long, dv="y", within="within", between="between", subject="id", correction=True)
    needed = {"Source", "F", "DF1", "DF2", "p_unc", "np2"}
    if long["within"].nunique() > 2:  # two models have nothing to correct
        needed.add("p_GG_corr")
    if lacking := sorted(needed - set(table.columns)):
        raise CompanionError(f"pingouin {pingouin.__version__}: mixed_anova lacks {lacking}; install pingouin 0.7")
    found = []
    for row in table.to_dict("records"):
        corrected = row.get("p_GG_corr", np.nan)
        fit = {"F": row["F"], "df1": row["DF1"], "df2": row["DF2"], "effect": row["np2"]}
        fit["p"] = row["p_unc"] if np.isnan(corrected) else corrected
        found.append({"source": row["Source"].lower()} | fit | {"method": "pingouin mixed_anova"})
    return found


def _statsmodels(long: pd.DataFrame) -> list[dict]:
    means = long.groupby(["id", "between"], as_index=False)["y"].mean()
    inside = long.assign(y=long["y"] - long.groupby("id")["y"].transform("mean"))
    n, g, k = len(means), long["between"].nunique(), long["within"].nunique()
    across = anova_lm(smf.ols("y ~ C(between)", means).fit())
    within = anova_lm(smf.ols("y ~ C(within) * C(between)", inside).fit())
    terms = [
        ("between", across.loc["C(between)"], across.loc["Residual", "sum_sq"], n - g),
        ("within", within.loc["C(within)"], within.loc["Residual", "sum_sq"], (n - g) * (k - 1)),
        ("interaction", within.loc["C(within):C(between)"], within.loc["Residual", "sum_sq"], (n - g) * (k - 1)),
    ]
    found = []
    for source, row, rest, df2 in terms:
        df1 = row["df"]
        f = row["sum_sq"] / df1 / (rest / df2)
        fit = {"F": f, "df1": df1, "df2": df2, "p": float(sp.f.sf(f, df1, df2))}
        fit["effect"] = row["sum_sq"] / (row["sum_sq"] + rest)
        found.append({"source": source} | fit | {"method": "statsmodels ols"})
    return found

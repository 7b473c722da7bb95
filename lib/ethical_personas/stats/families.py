"""Corrections over a family of tests that was declared before the results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control


def holm(p: np.ndarray) -> np.ndarray:
    """Holm (1979), corrected p, (n,). The one of statsmodels collects garbage at each call: a tenth of a second."""
    order = np.argsort(p)
    stepwise = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(1.0, stepwise)[np.argsort(order)]


def family(
    table: pd.DataFrame, by: str | None = None, declared: Sequence[str] = (), apart: Sequence[str] = ()
) -> pd.DataFrame:
    """Add p_holm and p_bh to a table with a column p.

    Rows without a p stay without one and do not count. Holm bounds the chance of any false finding, BH the
    expected share of false ones.

    Args:
        table: Has an index without repeats, and column constitution where `declared` or `apart` is given.
        by: Column within each value of which to correct; all rows are one family without it.
        declared: The constitutions that the family was declared for; rows of others are a family of their own.
        apart: Such others, control arms, that are a family of their own too.
    """
    keys = [table[by]] if by else []
    keys += [table["constitution"].isin(names) for names in (declared, apart) if names]
    table = table.copy()
    at = table.columns.get_loc("p") + 1
    table.insert(at, "p_holm", np.nan)
    table.insert(at + 1, "p_bh", np.nan)
    for _, rows in table.groupby(keys) if keys else [("", table)]:
        tested = rows.index[rows["p"].notna()]
        if len(tested):
            p = table.loc[tested, "p"].to_numpy(float)
            table.loc[tested, "p_holm"] = holm(p)
            table.loc[tested, "p_bh"] = false_discovery_control(p, method="bh")
    return table

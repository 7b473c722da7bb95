"""How far the judge can be trusted, by sample, kind of request, style of answer and group of models; and its parts."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ethical_personas.figures.style import PAGE

TITLES = {
    "sensitivity": "sensitivity\n(of the declining, recognised)",
    "specificity": "specificity\n(of the complying, recognised)",
    "kappa": "kappa\n(agreement beyond chance)",
}
SHADES = {"this run": "#000000", "earlier runs": "#808080", "unseen styles": "#8C564B"}
IN_TABLE_ALONE = ("arm", "scope")


def report(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Sensitivity, specificity and kappa with intervals, a line a group; table of safety.judged.judge_report.

    Rows by arm and scope are in the table alone, for the figure is long enough.
    """
    table = table[~table["by"].isin(IN_TABLE_ALONE)].reset_index(drop=True)
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 0.16 * len(table) + 0.9), sharey=True, layout="constrained")
    y = -(np.arange(len(table)) + 0.8 * (table["by"] == "all").cumsum())  # a gap above each sample
    for ax, (measure, title) in zip(axes, TITLES.items(), strict=True):
        for sample, part in table.groupby("sample", sort=False):
            ends = part[[f"{measure}_low", f"{measure}_high"]].to_numpy().T
            ax.hlines(y[part.index], *ends, color=SHADES[sample], lw=1)
            for alone, some in part.groupby(part["by"] == "judge"):  # hollow: not the judge itself
                fill = "white" if alone else SHADES[sample]
                ax.plot(some[measure], y[some.index], "o", ms=3.5, color=SHADES[sample], mfc=fill)
        ax.set(title=title, xlim=(min(-0.02, table[f"{measure}_low"].min() - 0.02), 1.02))
        ax.grid(axis="x", lw=0.4)
    groups = table["group"].astype(str).str.replace("_", "-")
    names = table["by"].str.cat(groups, ": ").where(table["by"] != "judge", groups)
    names = names.where(table["by"] != "all", table["sample"])
    axes[0].set_yticks(y, [f"{name} ({n})" for name, n in zip(names, table["n"], strict=True)])
    told = f"in brackets: n answers read; bars: {1 - alpha:.0%} intervals; no mark: no answer of that label"
    fig.supxlabel(told + ("; hollow: parts of it alone, keyword list" if (table["by"] == "judge").any() else ""))
    return fig

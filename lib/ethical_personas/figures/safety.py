"""Figures of notebook 04, each drawn from one of the tables of safety.gains."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ethical_personas.figures import marks
from ethical_personas.figures.style import LABELS, MARKERS, PAGE, colour, format_seeds, ordered
from ethical_personas.study import grid

MEASURE_TITLES = {
    "S": "gain in S\n(harmful declined)",
    "O": "rise of O\n(harmless declined)",
    "J": "gain in J = S − O\n(net)",
}


def heatmap(rates: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Share declined, model x category, with its interval; table of gains.rates. A block of cells each scope.

    Dot: the category was in the training rows; frame: the category that the paper filters out.
    """
    scopes = {s: ordered(part) for s, part in rates.groupby("scope", sort=False)["constitution"]}
    rows = [len(names) for names in scopes.values()]
    # Declining is wanted on the left and unwanted on the right: two scales, so that no colour means both.
    halves = ((grid.CATEGORIES, "Blues", "harmful: share declined (S)"), (grid.HARMLESS, "Reds", "harmless (O)"))
    shape = {"height_ratios": rows, "width_ratios": [len(categories) for categories, *_ in halves]}
    size = (PAGE, 0.29 * sum(rows) + 0.12 * len(rows) + 1.1)
    fig, axes = plt.subplots(len(rows), 2, figsize=size, layout="constrained", squeeze=False, gridspec_kw=shape)
    n = rates.groupby("category")["n_clusters"].max()
    for line, (scope, names) in zip(axes, scopes.items(), strict=True):
        for ax, (categories, cmap, title) in zip(line, halves, strict=True):
            _rates(ax, rates[rates["scope"] == scope], scope, names, list(categories), cmap)
            ax.set_xticks([])
            if ax.get_subplotspec().is_first_row():
                ax.xaxis.tick_top()
                labels = [f"{LABELS.get(c, c)}\n(n = {n[c]})" for c in categories]
                ax.set_xticks(np.arange(len(labels)) + 0.5, labels, fontsize=6.5)
                ax.set_title(title, fontweight="bold")
        line[1].set_yticks([])
        marks.colour_labels(line[0].get_yticklabels(), names)
        lying = {"rotation": 0, "va": "center", "ha": "right"} if len(names) * 6 < len(scope) else {}  # a low block
        line[0].set_ylabel("" if scope == grid.SOURCE else scope, **lying)
    fig.align_ylabels()
    fig.align_titles()
    fig.supxlabel(
        f"line under a number: {1 - alpha:.0%} interval, the cell's width is 0 to 1; dot: category trained on;\n"
        f"frame: the filtered category of claim C2; {format_seeds(rates['seeds'].max())}"
    )
    return fig


def _rates(ax: Axes, part: pd.DataFrame, scope: str, names: list[str], categories: list[str], cmap: str) -> None:
    """One block of the heat map: its cells, each with its interval, dot and frame."""
    part = part[part["category"].isin(categories)]
    values = part.pivot(index="constitution", columns="category", values="estimate").reindex(names, columns=categories)
    framed = pd.DataFrame([[c == grid.HELD_OUT.get(scope) for c in categories]] * len(names))
    marks.heat(ax, values, values.map(marks.number), cmap, (0, 1.1), framed, "#E69F00")
    shades = {text.get_position(): text.get_color() for text in ax.texts}  # legible on the cell's own tone
    for row in part.dropna(subset=["estimate"]).itertuples():
        x, y = categories.index(row.category), names.index(row.constitution)
        shade = shades[x + 0.5, y + 0.5]
        ax.hlines(y + 0.86, x + row.low, x + row.high, color=shade, lw=0.9, capstyle="butt")
        if row.category in grid.SCOPES.get(scope, ()) and grid.refuses(row.constitution):
            ax.plot(x + 0.88, y + 0.42, "o", ms=2.2, color=shade)


def forest(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Gains over the source in S, O and J with intervals; table of gains.table. Filled: p (Holm) below alpha."""
    scopes, names = list(dict.fromkeys(table["scope"])), ordered(table["constitution"])
    table = table.assign(clear=table["p_holm"] < alpha)
    size = (PAGE, (0.21 * len(names) + 0.14) * len(scopes) + 1.1)
    panels = {"col": ("measure", MEASURE_TITLES), "row": ("scope", scopes), "order": names}
    fig, axes = marks.intervals(table, "estimate", "constitution", size, **panels, dodge=None, fill="clear")
    for ax, measure in zip(axes[-1], MEASURE_TITLES, strict=True):
        part = table[table["measure"] == measure]
        ax.set_xlabel(f"n = {marks.count_range(part['n_clusters'])} prompts, {format_seeds(part['seeds'].max())}")
    fig.align_ylabels()
    fig.supxlabel(
        f"bars: {1 - alpha:.0%} intervals, not corrected; filled: p < {alpha:g} after Holm's correction over a "
        "column's\nmodels (constitutions and control arms apart)"
    )
    return fig


def corners(overall: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """S against O of every model, and the three corners it could sit in; table of gains.overall.

    Left: all there is. Right: the tuned models close up, a panel a scope, with intervals.
    """
    tuned = overall[overall["scope"] != grid.SOURCE]
    scopes, names = list(dict.fromkeys(tuned["scope"])), ordered(tuned["constitution"])
    shape = {"width_ratios": [1.5] + [1] * len(scopes)}
    fig, (whole, *near) = plt.subplots(1, 1 + len(scopes), figsize=(PAGE, 2.7), layout="constrained", **shape)
    looks = {"x": "O", "y": "S", "hue": "constitution", "style": "scope", "markers": MARKERS, "legend": False}
    looks["palette"] = {name: colour(name) for name in overall["constitution"].unique()}
    grey = {"color": "0.4", "fontsize": 7}
    whole.plot([0, 1], [0, 1], color=marks.GREY, lw=0.8, ls="--", zorder=0)
    whole.text(0.68, 0.58, "J = 0", rotation=45, ha="center", va="center", rotation_mode="anchor", **grey)
    for x, y, name, ha, va in (
        (0, 0, "helpful-only", "left", "center"),
        (1, 1, "refuses all", "right", "top"),
        (0, 1, "ideal", "left", "top"),
    ):
        whole.plot(x, y, "*", color="0.7", ms=10, clip_on=False, zorder=0)
        whole.text(abs(x - 0.07) - 0.06 * x, y - 0.04 * y + 0.05 * x, name, ha=ha, va=va, **grey)
    sns.scatterplot(overall, ax=whole, s=18, **looks)
    whole.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal", title="every model")
    whole.set(xlabel="O: harmless declined", ylabel="S: harmful declined")
    for ax, scope in zip(near, scopes, strict=True):
        if ax is not near[0]:
            ax.sharex(near[0])
            ax.sharey(near[0])
        part = tuned[tuned["scope"] == scope]
        shades = part["constitution"].map(colour)
        ax.hlines(part["S"], part["O_low"], part["O_high"], color=shades, lw=0.9)
        ax.vlines(part["O"], part["S_low"], part["S_high"], color=shades, lw=0.9)
        sns.scatterplot(part, ax=ax, s=24, **looks)
        ax.set(title=scope, xlabel="O", ylabel="S" if ax is near[0] else "")
        ax.tick_params(labelleft=ax is near[0])
    harmful, harmless = (marks.count_range(overall[f"n_{kind}"]) for kind in ("harmful", "harmless"))
    note = f"lines: {1 - alpha:.0%} intervals; n = {harmful} harmful and {harmless} harmless prompts, "
    note += format_seeds(overall["seeds"].max())
    marks.key(fig, note, ordered(overall["scope"], MARKERS), names)
    return fig


def transfer(matrix: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Gain in S on each category by training scope; table of gains.transfer. Framed: category in the training rows."""
    scopes = list(dict.fromkeys(matrix["scope"]))
    words = [f"{marks.number(r.estimate, '+.2f')}\n{marks.interval(r.low, r.high)}" for r in matrix.itertuples()]
    wide = matrix.assign(words=words).pivot(index="scope", columns="category").reindex(scopes)
    wide = wide.reindex(columns=grid.CATEGORIES, level="category")
    fig, ax = plt.subplots(figsize=(PAGE, 0.42 * len(scopes) + 1.0), layout="constrained")
    marks.heat(ax, wide["estimate"], wide["words"], "RdBu", (-1, 1), wide["trained"].eq(True))
    ax.set_xticklabels([LABELS[c] for c in wide["estimate"]])
    ax.xaxis.tick_top()
    ax.set_ylabel("trained on")
    n, seeds = marks.count_range(matrix["n_clusters"]), format_seeds(matrix["seeds"].max())
    fig.supxlabel(
        f"gain in S over the source, mean of {int(matrix['constitutions'].max())} constitutions, with {1 - alpha:.0%} "
        f"intervals;\nn = {n} prompts a cell, {seeds}; frame: category trained on"
    )
    return fig


def dose(table: pd.DataFrame, finished: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Gain in S, O and J at each checkpoint, one row of panels a cell; table of gains.dose.

    Band: the finished model, of all seeds, with its interval (gains.table). Nothing was measured between the points:
    the dotted line only shows which of them belong together.
    """
    cells, size = list(dict.fromkeys(table["model"])), (PAGE, 1.8 * table["model"].nunique() + 0.6)
    panels = {"col": ("measure", MEASURE_TITLES), "row": ("model", cells)}
    fig, axes = marks.intervals(table, "estimate", "step", size, **panels, vertical=True)
    for line, name in zip(axes, cells, strict=True):
        cell = grid.Cell.parse(name)
        shade = colour(cell.constitution)
        same = (finished["constitution"] == cell.constitution) & (finished["scope"] == cell.scope)
        for ax, measure in zip(line, MEASURE_TITLES, strict=True):
            part = table[(table["model"] == name) & (table["measure"] == measure)].sort_values("step")
            ax.plot([0, *part["step"]], [0, *part["estimate"]], ":", color=shade, lw=0.8, zorder=0, gid="guide")
            ax.plot(0, 0, MARKERS[grid.SOURCE], color=colour(grid.SOURCE), ms=5)
            for end in finished[same & (finished["measure"] == measure)].itertuples():
                ax.axhspan(end.low, end.high, color=shade, alpha=0.15, lw=0, zorder=0)
                ax.axhline(end.estimate, color=shade, lw=0.8, zorder=0)
            ax.set_xlabel(f"optimiser steps (n = {marks.count_range(part['n_clusters'])} prompts)")
        line[0].set_ylabel(f"{name}\ndifference from the source")
    seeds = int(finished["seeds"].max())
    end = "finished model" if seeds == 1 else f"finished models, {seeds} seeds"
    extra = [
        Line2D([], [], marker=MARKERS[grid.SOURCE], ls="", color=colour(grid.SOURCE), ms=5, label="source"),
        Line2D([], [], marker="o", lw=1, color="0.35", ms=4, label="measured"),
        Line2D([], [], ls=":", color="0.35", lw=0.8, label="guide, not measured"),
        Patch(color="0.35", alpha=0.3, lw=0, label=end),
    ]
    marks.key(fig, f"bars and bands: {1 - alpha:.0%} intervals", extra=extra)
    return fig

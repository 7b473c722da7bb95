"""Figures of notebook 06: projectability with intervals, and ranks in against out of distribution."""

from __future__ import annotations

import textwrap

import pandas as pd
import seaborn.objects as so
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures import marks
from ethical_personas.figures.style import MARKERS, PAGE, colour, format_seeds, ordered

TITLES = {"S": "safety, S", "J": "discrimination, J", "voice": "voice", "pP": "persona (replication)"}


def projectability(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """One panel a measure: estimate with interval by constitution and narrow scope; table of `summary`.

    1: the narrow model carries as much as the broad one; 0: nothing. Where a ratio is undefined, the panel says so;
    where all of a panel's are, also why. Beside pP: what other constitutions' models give (dash), and the noise-free
    cosine where there is one (open).
    """
    table = table.reindex(columns=list(dict.fromkeys([*table, "others", "noise_free"])))
    marked = _beside(table)
    titles = {m: TITLES[m] for m in ordered(table["measure"], TITLES)}
    names, scopes = ordered(table["constitution"]), ordered(table["scope"], MARKERS)
    # A ratio of two small gains can reach far: the frame holds every estimate, and intervals up to -1 and 2.
    points = table[["estimate", "others", "noise_free"]]
    low = min(-0.15, points.min(axis=None) - 0.1, max(-1.0, table["low"].min() - 0.05))
    high = max(1.3, points.max(axis=None) + 0.1, min(2.0, table["high"].max() + 0.05))
    some = table.groupby("measure")["estimate"].transform("count") > 0
    words = (some & table["estimate"].isna()).map({True: "× undefined", False: ""})
    word = (so.Text(halign="left", fontsize=6), {"x": "edge", "xmin": None, "xmax": None, "text": "word"})
    fig, axes = marks.intervals(
        table.assign(word=words, edge=low + 0.03),
        "estimate",
        "constitution",
        (PAGE, 0.4 * len(names) + 1.2),
        col=("measure", titles),
        order=names,
        layers=(word, *(layer for layer, _ in marked)),
    )
    for ax, measure in zip(axes[0], titles, strict=True):
        part = table[table["measure"] == measure]
        if part["estimate"].isna().all():
            why = textwrap.fill(f"undefined: {part['reason'].iloc[0].removeprefix('undefined: ')}", 24)
            place = {"ha": "center", "va": "center", "transform": ax.transAxes}
            ax.text(0.5, 0.5, why, fontsize=6.5, bbox={"fc": "w", "lw": 0}, **place)
        ax.axvline(1, color=marks.GREY, lw=0.7, ls="--", zorder=0)
        ax.set_xlim(low, high)
        kind = "items" if measure == "pP" else "prompts"
        ax.set_xlabel(f"n = {marks.count_range(part['n_clusters'])} {kind}, {format_seeds(part['seeds'].max())}")
    note = f"trained on (bars: {1 - alpha:.0%} intervals{marks.beyond(table, low, high)})"
    marks.key(fig, note, scopes, extra=[line for _, line in marked])
    return fig


def _beside(table: pd.DataFrame) -> list[tuple[tuple, Line2D]]:
    """What is drawn beside pP where the table has it, each a layer of seaborn's with its mark in the key."""
    look, alone, found = {"color": "0.35", "ls": "", "ms": 4}, {"xmin": None, "xmax": None}, []
    if table["others"].notna().any():
        dash = so.Dash(color="0.5", linewidth=1.2, width=0.8)
        mark = Line2D([], [], marker="|", mew=1.2, label="pP with other constitutions", **look)
        found.append(((dash, {"x": "others", **alone}), mark))
    if table["noise_free"].notna().any():
        point = so.Dot(pointsize=4, edgewidth=0.9, fill=False)
        mark = Line2D([], [], marker="o", mfc="w", label="pP free of noise, where defined", **look)
        found.append(((point, {"x": "noise_free", **alone}), mark))
    return found


def slopes(ranks: pd.DataFrame, prompts: int, alpha: float = 0.05) -> Figure:
    """Gain of each constitution in distribution (left) and out of it (right), with intervals; table of `ranks`.

    prompts: how many there are in all, harmful and harmless.
    Crossing lines are changes of rank: they join heights, between marks that are set apart. The title gives Kendall's
    tau of the two orders.
    """
    ranks = ranks.assign(panel=ranks["measure"] + ", " + ranks["scope"])
    titles = {}
    for row in ranks.drop_duplicates("panel").itertuples():
        tau = f"{marks.number(row.tau)} {marks.interval(row.tau_low, row.tau_high)}"
        titles[row.panel] = f"{row.panel}\nτ " + ("undefined" if pd.isna(row.tau) else f"= {tau}")
    ends = [
        ranks.assign(end=name, gain=ranks[f"{part}_gain"], low=ranks[f"{part}_low"], high=ranks[f"{part}_high"])
        for part, name in (("id", "in\ndistribution"), ("ood", "out of\ndistribution"))
    ]
    table, size = pd.concat(ends, ignore_index=True), (max(PAGE, 1.75 * len(titles)), 2.8)
    panels = {"col": ("panel", titles), "dodge": "color", "vertical": True}
    fig, axes = marks.intervals(table, "gain", "end", size, **panels)
    for ax, panel in zip(axes[0], titles, strict=True):
        for row in ranks[ranks["panel"] == panel].itertuples():
            ax.plot([0.37, 0.63], [row.id_gain, row.ood_gain], color=colour(row.constitution), lw=0.8)
    axes[0, 0].set_ylabel("gain over the source")
    note = f"n = {prompts} prompts in all; bars: {1 - alpha:.0%} intervals; τ: Kendall's correlation of the two orders"
    marks.key(fig, note, names=ordered(ranks["constitution"]))
    return fig

"""Figures of notebook 05 on how far the lenses can be trusted, and the dilemmas; each takes a table."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures import marks
from ethical_personas.figures.style import COLUMN, DIMENSIONS, LENS_TITLES, MARKERS, PAGE, colour, ordered
from ethical_personas.study import grid

CHOSEN = {"likelihood": "likelihood\n(nats a token)", "reply": "reply (share,\nown minus other's)"}


def plot_ambiguity(ambiguity: pd.DataFrame, acquiescence: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Ambiguous replies by model (left), and acquiescence as a shift from the source by lens (right).

    Both tables hold the source's rows: its share is the dashed line on the left, its shift is zero.
    """
    lenses = ordered(acquiescence["lens"], LENS_TITLES)
    titles = {"": "text: share of\nambiguous replies"} | {lens: f"{lens}: shift in\nacquiescence" for lens in lenses}
    columns = {"lens": "panel", "shift": "value", "shift_low": "low", "shift_high": "high"}
    shifts = acquiescence[["constitution", "scope", "seed", *columns]].rename(columns=columns)
    shifts = shifts.astype(dict.fromkeys(("value", "low", "high"), float))  # also where no lens has both keys
    shares = ambiguity.rename(columns={"share": "value"}).assign(panel="", seed=0)  # of all seeds
    table = pd.concat([shares, shifts], ignore_index=True)
    table = table[table["constitution"] != grid.SOURCE]
    names, scopes = ordered(table["constitution"]), ordered(table["scope"], MARKERS)
    size = (PAGE, 0.42 * len(names) + 1.3)
    each = {"col": ("panel", titles), "order": names, "share": False, "group": "seed"}
    fig, axes = marks.intervals(table, "value", "constitution", size, **each)
    for row in ambiguity[ambiguity["constitution"] == grid.SOURCE].itertuples():
        axes[0, 0].axvspan(row.low, row.high, color=colour(grid.SOURCE), alpha=0.12, lw=0, zorder=0)
        axes[0, 0].axvline(row.share, color=colour(grid.SOURCE), lw=0.8, ls="--", zorder=0)
    axes[0, 0].set_xlim(0, 1)
    dashed = Line2D([], [], color=colour(grid.SOURCE), lw=0.8, ls="--", label="source (on the right: zero)")
    note = f"bars and band: {1 - alpha:.0%} intervals, n = {marks.count_range(ambiguity['n'])} items"
    note += "; acquiescence: a mark for each seed" if shifts["seed"].nunique() > 1 else ""
    marks.key(fig, note, scopes, extra=[dashed])
    return fig


def reliability(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Heat map of Cronbach's alpha, dimension by lens, with its interval in words; all from zero down is pale."""
    lenses, names = ordered(table["lens"], LENS_TITLES), ordered(table["dimension"], DIMENSIONS)
    words = [f"{marks.number(r.alpha)}\n{marks.interval(r.low, r.high)}" for r in table.itertuples()]
    wide = table.assign(words=words).pivot(index="dimension", columns="lens").reindex(names)
    wide = wide.reindex(columns=lenses, level="lens")
    width = COLUMN if len(lenses) <= 3 else PAGE  # a cell holds the words of an interval
    fig, ax = plt.subplots(figsize=(width, 0.31 * len(names) + 0.8), layout="constrained")
    marks.heat(ax, wide["alpha"], wide["words"], "Blues", size=6)
    subjects = table.groupby("lens")["subjects"].max()
    ax.set_xticklabels([f"{lens}\n(n = {subjects[lens]})" for lens in lenses])
    ax.set_yticklabels([DIMENSIONS.get(d, d) for d in names], fontsize=6.5)
    fig.supxlabel(
        f"Cronbach's alpha, {1 - alpha:.0%} intervals, {marks.count_range(table['items'])} items\n"
        "a dimension; n: models × wordings; the darker, the nearer to 1"
    )
    return fig


def dilemmas(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Preference for each constitution's options, contrast to the constitutions' mean; filled: its own option.

    Control arms have the last panels, grey; none of the options is theirs.
    """
    options, measures = ordered(table["option"]), [m for m in CHOSEN if m in set(table["measure"])]
    size = (PAGE, len(measures) * (0.2 * len(options) + 0.55) + 0.6)
    names = ordered(table["constitution"])
    told = "trained on\n{}" if len(names) <= 5 else "{}"  # narrow panels hold the name alone
    panels = {"col": ("constitution", {name: told.format(name) for name in names})}
    rows = {"row": ("chosen", [CHOSEN[m] for m in measures])}
    table = table.assign(chosen=table["measure"].map(CHOSEN))
    look = {"order": options, "dodge": None, "fill": "own", "share": "row"}
    fig, axes = marks.intervals(table, "contrast", "option", size, **panels, **rows, **look)
    if len(names) > 5:
        for ax in axes.flat:
            ax.tick_params(axis="x", rotation=90)
    fig.supylabel("whose option")
    fig.supxlabel(
        f"preference, contrast to the constitutions' mean; {1 - alpha:.0%} intervals; "
        f"n = {marks.count_range(table['n'])} dilemmas a mark, all scopes;\nfilled: the constitution's own option"
        + "; grey: control arms, which have none"
        * bool(table["constitution"].isin(grid.CONTROLS).any())
    )
    return fig

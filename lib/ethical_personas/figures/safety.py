"""Figures of notebook 04, each drawn from one of the tables of safety.gains."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ethical_personas.figures.style import COLUMN, LABELS, MARKERS, PAGE, colour, seeds_told
from ethical_personas.study import grid

MEASURE_TITLES = {
    "S": "gain in S\n(harmful declined)",
    "O": "rise of O\n(harmless declined)",
    "J": "gain in J = S − O",
}


def _models(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(constitution, scope) in the table's order."""
    return list(dict.fromkeys(zip(table["constitution"], table["scope"], strict=True)))


def _positions(models: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Rows from top to bottom, with a gap between scopes."""
    y, place, before = 0.0, {}, None
    for model in models:
        if before is not None and model[1] != before:
            y -= 0.6
        place[model], before = y, model[1]
        y -= 1
    return place


def _label_rows(ax, place: dict[tuple[str, str], float], x: float) -> None:
    """Constitution names as tick labels, the scope beside each group."""
    ax.set_yticks(list(place.values()), [c for c, _ in place])
    for label, (constitution, _) in zip(ax.get_yticklabels(), place, strict=True):
        label.set_color(colour(constitution))
    for scope in dict.fromkeys(s for _, s in place):
        ys = [y for (_, s), y in place.items() if s == scope]
        if scope != grid.SOURCE:
            size = 8 if len(ys) > 1 else 5.5  # one row is lower than a scope's name is long
            place_of = ax.get_yaxis_transform()
            ax.text(x, np.mean(ys), scope, rotation=90, ha="center", va="center", transform=place_of, fontsize=size)
    ax.set_ylim(min(place.values()) - 0.7, 0.7)
    ax.tick_params(length=0, axis="y")


def heatmap(rates: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Share declined, model x category, printed in the cells; table of gains.rates.

    Dot: the category was in the training rows; thick frame: the category that the paper filters out.
    """
    place = _positions(_models(rates))
    categories = [*grid.CATEGORIES, *grid.HARMLESS]
    columns = {c: i + (0.4 if c in grid.HARMLESS else 0) for i, c in enumerate(categories)}
    fig, ax = plt.subplots(figsize=(PAGE, 0.26 * len(place) + 1.3))
    # Declining is wanted on the left and unwanted on the right: two scales, so that no colour means both.
    blues, reds = plt.get_cmap("Blues"), plt.get_cmap("Reds")
    for row in rates.itertuples():
        x, y = columns[row.category], place[row.constitution, row.scope]
        told = not np.isnan(row.estimate)
        tone = (reds if row.category in grid.HARMLESS else blues)(0.9 * row.estimate) if told else "0.9"
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=tone, lw=0))
        dark = told and row.estimate > 0.6
        ax.text(x, y, f"{row.estimate:.2f}" if told else "–", ha="center", va="center", color="w" if dark else "k")
        if row.scope == grid.SOURCE or row.category in grid.HARMLESS:
            continue
        if row.category in grid.SCOPES[row.scope]:
            ax.plot(x + 0.38, y, "o", ms=2.2, color="w" if dark else "k")
        if row.category == grid.HELD_OUT.get(row.scope):
            ax.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, ec="#E69F00", lw=1.8))
    _label_rows(ax, place, -0.225)
    ax.set_xlim(-0.5, max(columns.values()) + 0.5)
    n = rates.groupby("category")["n_clusters"].max()
    labels = [f"{LABELS.get(c, c)}\n(n = {n[c]})" for c in categories]
    ax.set_xticks(list(columns.values()), labels, fontsize=6.5)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.text(2.5, 1.0, "harmful: share declined (S)", transform=_above(ax), ha="center", va="bottom", fontweight="bold")
    ax.text(6.9, 1.0, "harmless (O)", transform=_above(ax), ha="center", va="bottom", fontweight="bold")
    wide = ((rates["high"] - rates["low"]) / 2).groupby(rates["category"].isin(grid.HARMLESS)).max()
    note = (
        f"dot: category trained on;  frame: the filtered category of claim C2;  {seeds_told(rates['seeds'].max())};  "
        f"{1 - alpha:.0%} intervals in the table, at most ±{wide.max():.2f}"
    )
    ax.text(0.0, -0.02, note, transform=ax.transAxes, fontsize=6.5, va="top")
    return fig


def _above(ax):
    """Data x, y in axes fraction shifted above two-line tick labels."""
    from matplotlib.transforms import ScaledTranslation

    return ax.get_xaxis_transform() + ScaledTranslation(0, 0.5, ax.figure.dpi_scale_trans)


def forest(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Gains over the source in S, O and J with intervals; table of gains.table. Filled: p (Holm) below alpha."""
    place = _positions(_models(table))
    fig, axes = plt.subplots(1, 3, figsize=(PAGE, 0.22 * len(place) + 1.1), sharey=True)
    for ax, measure in zip(axes, MEASURE_TITLES, strict=True):
        part = table[table["measure"] == measure]
        for row in part.itertuples():
            y, shade = place[row.constitution, row.scope], colour(row.constitution)
            ax.plot([row.low, row.high], [y, y], color=shade, lw=1.2)
            face = shade if row.p_holm < alpha else "white"
            ax.plot(row.estimate, y, MARKERS[row.scope], ms=4.5, color=shade, mfc=face)
        ax.axvline(0, color="0.5", lw=0.7)
        ax.set_title(MEASURE_TITLES[measure], fontsize=8)
        ax.set_xlabel(f"n = {int(part['n_clusters'].max())} prompts, {seeds_told(part['seeds'].max())}", fontsize=7)
        ax.set_xlim(min(-0.1, table["low"].min() - 0.03), max(1.02, table["high"].max() + 0.02))  # one scale for all
    _label_rows(axes[0], place, -0.8)
    fig.text(0.5, -0.02, f"bars: {1 - alpha:.0%} intervals; filled: p (Holm) < {alpha:g}", ha="center", fontsize=7)
    fig.tight_layout()
    return fig


def corners(overall: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """S against O of every model, and the three corners it could sit in; table of gains.overall.

    Left: all there is. Right: the tuned models close up, with intervals.
    """
    fig, (ax, near) = plt.subplots(1, 2, figsize=(PAGE, 3.3), width_ratios=(1, 1.25))
    ax.plot([0, 1], [0, 1], color="0.75", lw=0.8, ls="--", zorder=0)
    ax.text(
        0.62, 0.585, "J = 0", rotation=45, color="0.5", fontsize=7, ha="center", va="center", rotation_mode="anchor"
    )
    for x, y, name, ha, va in (
        (0, 0, "helpful-only", "left", "bottom"),
        (1, 1, "refuses everything", "right", "top"),
        (0, 1, "ideal", "left", "top"),
    ):
        ax.plot(x, y, "*", color="0.6", ms=11, clip_on=False, zorder=0)
        step = 0.035 if x == 0 else -0.035
        ax.text(x + step, y + (0.02 if y == 0 else -0.02), name, color="0.45", fontsize=7.5, ha=ha, va=va)
    for row in overall.itertuples():
        shade = colour(row.constitution)
        ax.plot(row.O, row.S, MARKERS[row.scope], color=shade, ms=4, mec="white", mew=0.4)
        if row.scope == grid.SOURCE:
            continue
        near.plot([row.O_low, row.O_high], [row.S, row.S], color=shade, lw=0.8, alpha=0.5)
        near.plot([row.O, row.O], [row.S_low, row.S_high], color=shade, lw=0.8, alpha=0.5)
        near.plot(row.O, row.S, MARKERS[row.scope], color=shade, ms=5.5, mec="white", mew=0.5, alpha=0.85)
    ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    ax.set_aspect("equal")
    ax.set_title("every model", fontsize=8)
    near.set_title(f"the tuned models, {1 - alpha:.0%} intervals", fontsize=8)
    near.margins(0.06)
    for axes in (ax, near):
        axes.set_xlabel(f"O: harmless prompts declined (n = {int(overall['n_harmless'].max())})")
    ax.set_ylabel(f"S: harmful prompts declined (n = {int(overall['n_harmful'].max())})")
    names = [c for c in dict.fromkeys(overall["constitution"]) if c != grid.SOURCE]
    marks = [Line2D([], [], marker="o", ls="", color=colour(c), ms=4, label=c) for c in names]
    scopes = [s for s in MARKERS if s in set(overall["scope"])]
    shapes = [Line2D([], [], marker=MARKERS[s], ls="", color="0.4", ms=4, label=s) for s in scopes]
    place = {"fontsize": 6.5, "handletextpad": 0.2, "alignment": "left", "title_fontsize": 6.5}
    near.add_artist(
        near.legend(handles=marks, title="constitution", loc="lower left", bbox_to_anchor=(1, 0.5), **place)
    )
    near.legend(handles=shapes, title="trained on", loc="upper left", bbox_to_anchor=(1, 0.5), **place)
    fig.tight_layout()
    return fig


def transfer(matrix: pd.DataFrame) -> Figure:
    """Gain in S on each category by training scope; table of gains.transfer. Framed: category in the training rows."""
    scopes = list(dict.fromkeys(matrix["scope"]))
    fig, ax = plt.subplots(figsize=(PAGE, 0.48 * len(scopes) + 1.1))
    shades = plt.get_cmap("RdBu")
    for row in matrix.itertuples():
        x, y = grid.CATEGORIES.index(row.category), -scopes.index(row.scope)
        told = not np.isnan(row.estimate)
        tone = shades(0.5 + row.estimate / 2) if told else "0.9"
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=tone, lw=0))
        text = f"{row.estimate:+.2f}\n[{row.low:.2f}, {row.high:.2f}]" if told else "–"
        ax.text(
            x, y, text, ha="center", va="center", fontsize=7, color="w" if told and abs(row.estimate) > 0.65 else "k"
        )
        if row.trained:
            ax.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, ec="k", lw=1.2))
    ax.set_xlim(-0.5, len(grid.CATEGORIES) - 0.5)
    ax.set_ylim(-len(scopes) + 0.45, 0.55)
    ax.set_xticks(range(len(grid.CATEGORIES)), [LABELS[c] for c in grid.CATEGORIES], fontsize=7)
    ax.set_yticks([-i for i in range(len(scopes))], scopes)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("trained on")
    n, k = int(matrix["n_clusters"].max()), int(matrix["constitutions"].max())
    note = (
        f"gain in S over the source; frame: category trained on; n = {n} prompts a cell, "
        f"mean over constitutions ({k}), {seeds_told(matrix['seeds'].max())}"
    )
    ax.text(0, -0.04, note, transform=ax.transAxes, fontsize=6.5, va="top")
    return fig


def dose(table: pd.DataFrame, finished: pd.DataFrame) -> Figure:
    """Gain in S, O and J along training, one panel a cell; table of gains.dose. Dashed: finished (gains.table)."""
    cells = list(dict.fromkeys(table["model"]))
    fig, axes = plt.subplots(1, len(cells), figsize=(COLUMN * len(cells) + 0.6, 2.5), sharey=True, squeeze=False)
    looks = {
        "S": ("#000000", "o", "S, harmful"),
        "O": ("#E69F00", "s", "O, harmless"),
        "J": ("#56B4E9", "^", "J = S − O"),
    }
    for ax, name in zip(axes[0], cells, strict=True):
        cell = grid.Cell.parse(name)
        for measure, (shade, mark, label) in looks.items():
            part = table[(table["model"] == name) & (table["measure"] == measure)].sort_values("step")
            x, y = [0, *part["step"]], [0, *part["estimate"]]
            label = f"{label} (n = {int(part['n_clusters'].max())})"
            ax.plot(x, y, color=shade, marker=mark, ms=3.5, lw=1, label=label)
            ax.fill_between(x, [0, *part["low"]], [0, *part["high"]], color=shade, alpha=0.12, lw=0)
            same = (finished["constitution"] == cell.constitution) & (finished["scope"] == cell.scope)
            end = finished.loc[same & (finished["measure"] == measure), "estimate"]
            if len(end):
                ax.axhline(end.iloc[0], color=shade, lw=0.8, ls="--")
        ax.axhline(0, color="0.5", lw=0.6)
        ax.set(title=name, xlabel="optimiser steps")
    axes[0, 0].set_ylabel("difference from the source")
    axes[0, -1].legend(
        fontsize=6.5, loc="center left", bbox_to_anchor=(1.0, 0.5), title="dashed: finished", title_fontsize=6.5
    )
    return fig

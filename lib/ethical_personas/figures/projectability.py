"""Figures of notebook 06: projectability with intervals, and ranks in against out of distribution."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ethical_personas.figures.style import MARKERS, PAGE, colour, seeds_told
from ethical_personas.study import grid

TITLES = {"S": "safety, S", "J": "discrimination, J", "voice": "voice", "pP": "persona (noise-free pP)"}


def projectability(table: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """One panel a measure: ratio with interval by constitution and narrow scope; table of `summary`.

    1: the narrow model carries as much as the broad one; 0: nothing. A cross at the edge: undefined; where a whole
    panel is, the reason.
    """
    measures = [m for m in TITLES if m in set(table["measure"])]
    names = [
        *dict.fromkeys([c for c in grid.CONSTITUTIONS if c in set(table["constitution"])] + list(table["constitution"]))
    ]
    scopes = [s for s in grid.NARROW if s in set(table["scope"])]
    fig, axes = plt.subplots(
        1, len(measures), figsize=(PAGE, 0.42 * len(names) + 1.25), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, measure in zip(axes[0], measures, strict=True):
        part = table[table["measure"] == measure]
        high = max(1.3, min(2.0, part["high"].max() + 0.05)) if part["high"].notna().any() else 1.3
        low = min(-0.15, max(-1.0, part["low"].min() - 0.05)) if part["low"].notna().any() else -0.15
        for row in part.itertuples():
            y = -names.index(row.constitution) + (0.16 if row.scope == scopes[0] else -0.16)
            shade = colour(row.constitution)
            if part["estimate"].isna().all():
                continue
            if np.isnan(row.estimate):
                ax.text(low + 0.03, y, "× undefined", color=shade, fontsize=6, va="center")
                continue
            ends = np.clip([row.low, row.high], low, high)
            ax.plot(ends, [y, y], color=shade, lw=1.2)
            for end, inside, arrow in ((row.low, low, "<"), (row.high, high, ">")):
                if (end < inside) if arrow == "<" else (end > inside):
                    ax.plot(inside, y, arrow, color=shade, ms=3, clip_on=False)
            ax.plot(np.clip(row.estimate, low, high), y, MARKERS[row.scope], color=shade, ms=4.5, mec="white", mew=0.4)
        if part["estimate"].isna().all():
            why = textwrap.fill(f"undefined: {part['reason'].iloc[0].removeprefix('undefined: ')}", 24)
            ax.text(0.5, 0.5, why, transform=ax.transAxes, fontsize=6.5, color="0.3", ha="center", va="center")
        for x in (0, 1):
            ax.axvline(x, color="0.6", lw=0.7, ls="-" if x == 0 else "--", zorder=0)
        ax.set_xlim(low, high)
        ax.set_title(TITLES[measure], fontsize=8)
        n = int(part["n_clusters"].max()) if len(part) else 0
        kind = "items" if measure == "pP" else "prompts"
        ax.set_xlabel(f"n = {n} {kind}, {seeds_told(part['seeds'].max())}", fontsize=6.5)
    axes[0, 0].set_yticks([-i for i in range(len(names))], names)
    axes[0, 0].set_ylim(-len(names) + 0.5, 0.5)
    for label, name in zip(axes[0, 0].get_yticklabels(), names, strict=True):
        label.set_color(colour(name))
    marks = [Line2D([], [], marker=MARKERS[s], ls="", color="0.4", ms=4, label=f"trained on {s} only") for s in scopes]
    fig.legend(
        handles=marks,
        loc="outside lower center",
        ncols=2,
        fontsize=7,
        title=f"bars: {1 - alpha:.0%} intervals",
        title_fontsize=7,
    )
    return fig


def slopes(ranks: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Gain of each constitution in distribution (left) and out of it (right), with intervals; table of `ranks`.

    Crossing lines are changes of rank; the title gives Kendall's tau of the two orders.
    """
    panels = list(dict.fromkeys(zip(ranks["measure"], ranks["scope"], strict=True)))
    fig, axes = plt.subplots(1, len(panels), figsize=(max(PAGE, 1.75 * len(panels)), 2.7), sharey=True, squeeze=False)
    for ax, (measure, scope) in zip(axes[0], panels, strict=True):
        part = ranks[(ranks["measure"] == measure) & (ranks["scope"] == scope)].reset_index(drop=True)
        offsets = np.linspace(-0.18, 0.18, len(part)) if len(part) > 1 else [0.0]
        for row, offset in zip(part.itertuples(), offsets, strict=True):
            shade = colour(row.constitution)
            ends = np.array([offset, 1 + offset])
            ax.plot(ends, [row.id_gain, row.ood_gain], color=shade, lw=0.8, alpha=0.6)
            ax.vlines(ends, [row.id_low, row.ood_low], [row.id_high, row.ood_high], color=shade, lw=1.1)
            ax.plot(ends, [row.id_gain, row.ood_gain], MARKERS[scope], color=shade, ms=4, mec="white", mew=0.4)
        first = part.iloc[0]
        told = (
            "τ undefined"
            if np.isnan(first["tau"])
            else f"τ = {first['tau']:.2f} [{first['tau_low']:.2f}, {first['tau_high']:.2f}]".replace("-", "−")
        )
        ax.set_title(f"{measure}, {scope}\n{told}", fontsize=7.5)
        ax.set_xticks([0, 1], ["in\ndistribution", "out of\ndistribution"], fontsize=7)
        ax.set_xlim(-0.45, 1.45)
        ax.axhline(0, color="0.5", lw=0.6)
    axes[0, 0].set_ylabel("gain over the source")
    names = list(dict.fromkeys(ranks["constitution"]))
    marks = [Line2D([], [], color=colour(c), marker="o", ms=4, label=c) for c in names]
    title = f"bars: {1 - alpha:.0%} intervals; τ: Kendall's correlation of the two orders, by bootstrap"
    fig.legend(
        handles=marks, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(names), fontsize=7,
        title=title, title_fontsize=7,
    )  # fmt: skip
    fig.tight_layout()
    return fig
